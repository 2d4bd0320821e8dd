/* SPDX-License-Identifier: BSD-3-Clause */
#include "storvsp_fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/storvsp.h>

#define ACTIONS                                                                                    \
    "drop, delay:MS, repeat, shorten, wrong-id, bad-index, bad-length, bad-sense, medium-error, "  \
    "nospace, busy, rescind"

static const struct {
    const char *name;
    enum hv_storvsp_fault_action action;
} actions[] = {
    {"drop", HV_FAULT_DROP},
    {"delay", HV_FAULT_DELAY},
    {"repeat", HV_FAULT_REPEAT},
    {"shorten", HV_FAULT_SHORTEN},
    {"wrong-id", HV_FAULT_WRONG_ID},
    {"bad-index", HV_FAULT_BAD_INDEX},
    {"bad-length", HV_FAULT_BAD_LENGTH},
    {"bad-sense", HV_FAULT_BAD_SENSE},
    {"medium-error", HV_FAULT_MEDIUM_ERROR},
    {"nospace", HV_FAULT_NOSPACE},
    {"busy", HV_FAULT_BUSY},
    {"rescind", HV_FAULT_RESCIND},
};

static int refuse(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(char *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, HV_DISK_WHY_BYTES, format, args);
    va_end(args);
    return -EINVAL;
}

/** A number 1 .. max at *text, moved behind it; 0 = none. */
static uint64_t take_number(const char **text, uint64_t max)
{
    uint64_t value = 0;

    for (; **text >= '0' && **text <= '9'; (*text)++) {
        value = value * 10 + (uint64_t)(**text - '0');
        if (value > max)
            return 0;
    }
    return value;
}

static int parse_when(const char *when, struct hv_storvsp_fault_rule *rule)
{
    rule->first = take_number(&when, UINT32_MAX);
    if (!rule->first)
        return -EINVAL;
    if (*when == '+') {
        rule->every = 1;
        when++;
    } else if (*when == '/') {
        when++;
        rule->every = take_number(&when, UINT32_MAX);
        if (!rule->every)
            return -EINVAL;
    }
    return *when ? -EINVAL : 0;
}

/** One "ACTION@N"; `word` is a private copy. */
static int parse_rule(char *word, struct hv_storvsp_fault_rule *ret_rule, char *why)
{
    struct hv_storvsp_fault_rule rule = {0};
    char *at = strchr(word, '@'), *colon;

    if (!at)
        return refuse(
            why, "fault \"%s\": \"@N\" is missing; allowed: ACTION@N, ACTION@N+, ACTION@N/M", word);
    *at = '\0';
    colon = strchr(word, ':');
    if (colon)
        *colon = '\0';
    for (size_t i = 0; i < HV_COUNT_OF(actions); i++)
        if (!strcmp(actions[i].name, word))
            rule.action = actions[i].action;
    if (!rule.action)
        return refuse(why, "fault \"%s\" is not known; allowed: " ACTIONS, word);
    if ((rule.action == HV_FAULT_DELAY) != (colon != NULL))
        return refuse(why, "fault \"%s\": milliseconds belong to delay, as in delay:200@5", word);
    if (colon) {
        const char *ms = colon + 1;

        rule.delay_ms = (uint32_t)take_number(&ms, HV_FAULT_DELAY_MAX_MS);
        if (!rule.delay_ms || *ms)
            return refuse(why, "fault \"delay:%s\": allowed: 1 to %u milliseconds", colon + 1,
                          HV_FAULT_DELAY_MAX_MS);
    }
    if (parse_when(at + 1, &rule))
        return refuse(why, "fault \"%s@%s\": allowed: N, N+, N/M with numbers from 1", word,
                      at + 1);
    *ret_rule = rule;
    return 0;
}

int hv_storvsp_fault_parse(const char *text, struct hv_storvsp_fault_plan *ret_plan, char *why)
{
    struct hv_storvsp_fault_rule rules[HV_FAULT_RULES_MAX];
    size_t count = 0;

    for (;;) {
        size_t bytes = strcspn(text, ",");
        char word[64];
        int ret;

        if (!bytes)
            return refuse(why,
                          "fault plan: an empty word; allowed: ACTION@N[,...], ACTION: " ACTIONS);
        if (bytes >= sizeof(word))
            return refuse(why, "fault \"%.40s...\" is not known; allowed: " ACTIONS, text);
        if (count == HV_FAULT_RULES_MAX)
            return refuse(why, "fault plan: more than %u faults", HV_FAULT_RULES_MAX);
        memcpy(word, text, bytes);
        word[bytes] = '\0';
        ret = parse_rule(word, &rules[count], why);
        if (ret)
            return ret;
        count++;
        if (!text[bytes])
            break;
        text += bytes + 1;
    }
    memcpy(ret_plan->rules, rules, count * sizeof(rules[0]));
    ret_plan->count = count;
    atomic_init(&ret_plan->seen, 0);
    return 0;
}

const struct hv_storvsp_fault_rule *hv_storvsp_fault_next(struct hv_storvsp_fault_plan *plan)
{
    uint64_t n = atomic_fetch_add_explicit(&plan->seen, 1, memory_order_relaxed) + 1;

    for (size_t i = 0; i < plan->count; i++) {
        const struct hv_storvsp_fault_rule *rule = &plan->rules[i];

        if (n == rule->first ||
            (n > rule->first && rule->every && (n - rule->first) % rule->every == 0))
            return rule;
    }
    return NULL;
}

int hv_storvsp_fault_has(const struct hv_storvsp_fault_plan *plan,
                         enum hv_storvsp_fault_action action)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->rules[i].action == action)
            return 1;
    return 0;
}

int hv_storvsp_parse_fault(const char *plan, char why[HV_DISK_WHY_BYTES])
{
    struct hv_storvsp_fault_plan ignored;

    return hv_storvsp_fault_parse(plan, &ignored, why);
}
