/* SPDX-License-Identifier: BSD-3-Clause */
#include "netvsp_fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <hv/base/bits.h>
#include <hv/netvsp.h>

static const struct {
    const char *name;
    enum hv_netvsp_fault_action action;
    enum hv_netvsp_fault_class counts;
} actions[] = {
    {"refuse", HV_NIC_FAULT_REFUSE, HV_NIC_FAULTS_REQUEST},
    {"ignore", HV_NIC_FAULT_IGNORE, HV_NIC_FAULTS_REQUEST},
    {"drop", HV_NIC_FAULT_DROP, HV_NIC_FAULTS_FROM_GUEST},
    {"delay", HV_NIC_FAULT_DELAY, HV_NIC_FAULTS_FROM_GUEST},
    {"repeat", HV_NIC_FAULT_REPEAT, HV_NIC_FAULTS_FROM_GUEST},
    {"wrong-id", HV_NIC_FAULT_WRONG_ID, HV_NIC_FAULTS_FROM_GUEST},
    {"fail", HV_NIC_FAULT_FAIL, HV_NIC_FAULTS_FROM_GUEST},
    {"link-flap", HV_NIC_FAULT_LINK_FLAP, HV_NIC_FAULTS_FROM_GUEST},
    {"bad-index", HV_NIC_FAULT_BAD_INDEX, HV_NIC_FAULTS_FROM_GUEST},
    {"rescind", HV_NIC_FAULT_RESCIND, HV_NIC_FAULTS_FROM_GUEST},
    {"bad-offset", HV_NIC_FAULT_BAD_OFFSET, HV_NIC_FAULTS_TO_GUEST},
    {"bad-range", HV_NIC_FAULT_BAD_RANGE, HV_NIC_FAULTS_TO_GUEST},
    {"bad-rndis", HV_NIC_FAULT_BAD_RNDIS, HV_NIC_FAULTS_TO_GUEST},
    {"bad-data", HV_NIC_FAULT_BAD_DATA, HV_NIC_FAULTS_TO_GUEST},
    {"bad-ppi", HV_NIC_FAULT_BAD_PPI, HV_NIC_FAULTS_TO_GUEST},
    {"bad-buffer", HV_NIC_FAULT_BAD_BUFFER, HV_NIC_FAULTS_TO_GUEST},
    {"bad-count", HV_NIC_FAULT_BAD_COUNT, HV_NIC_FAULTS_TO_GUEST},
    {"bad-rx-id", HV_NIC_FAULT_BAD_RX_ID, HV_NIC_FAULTS_TO_GUEST},
    {"rx-twice", HV_NIC_FAULT_RX_TWICE, HV_NIC_FAULTS_TO_GUEST},
    {"no-buffer", HV_NIC_FAULT_NO_BUFFER, HV_NIC_FAULTS_TO_GUEST},
};

static int refuse(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(char *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, HV_NETVSP_WHY_BYTES, format, args);
    va_end(args);
    return -EINVAL;
}

static int refuse_name(char *why, const char *word)
{
    char names[HV_NETVSP_WHY_BYTES];
    size_t used = 0;

    for (size_t i = 0; i < HV_COUNT_OF(actions) && used < sizeof(names); i++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, " %s", actions[i].name);
    return refuse(why, "fault \"%.24s\" is not known; allowed:%.215s", word, names);
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

static bool parse_when(const char *when, struct hv_netvsp_fault_rule *rule)
{
    rule->first = take_number(&when, UINT32_MAX);
    if (!rule->first)
        return false;
    if (*when == '+') {
        rule->every = 1;
        when++;
    } else if (*when == '/') {
        when++;
        rule->every = take_number(&when, UINT32_MAX);
        if (!rule->every)
            return false;
    }
    return !*when;
}

static int parse_delay(const char *ms, struct hv_netvsp_fault_rule *rule, char *why)
{
    const char *end = ms;

    if ((rule->action == HV_NIC_FAULT_DELAY) != (ms != NULL))
        return refuse(why, "fault: milliseconds belong to delay, as in delay:200@5");
    if (!ms)
        return 0;
    rule->delay_ms = (uint32_t)take_number(&end, HV_NIC_FAULT_DELAY_MAX_MS);
    if (!rule->delay_ms || *end)
        return refuse(why, "fault \"delay:%s\": allowed: 1 to %u milliseconds", ms,
                      HV_NIC_FAULT_DELAY_MAX_MS);
    return 0;
}

/** One "ACTION@N"; `word` is a private copy. */
static int parse_rule(char *word, struct hv_netvsp_fault_rule *ret_rule, char *why)
{
    struct hv_netvsp_fault_rule rule = {0};
    char *at = strchr(word, '@'), *colon;
    int err;

    if (!at)
        return refuse(why, "fault \"%s\": allowed: ACTION@N, ACTION@N+, ACTION@N/M", word);
    *at = '\0';
    colon = strchr(word, ':');
    if (colon)
        *colon++ = '\0';
    for (size_t i = 0; i < HV_COUNT_OF(actions); i++)
        if (!strcmp(actions[i].name, word)) {
            rule.action = actions[i].action;
            rule.counts = actions[i].counts;
        }
    if (!rule.action)
        return refuse_name(why, word);
    err = parse_delay(colon, &rule, why);
    if (err)
        return err;
    if (!parse_when(at + 1, &rule))
        return refuse(why, "fault \"%s@%s\": allowed: N, N+, N/M with numbers from 1", word,
                      at + 1);
    *ret_rule = rule;
    return 0;
}

int hv_netvsp_fault_parse(const char *text, struct hv_netvsp_fault_plan *ret_plan, char *why)
{
    struct hv_netvsp_fault_rule rules[HV_NIC_FAULT_RULES_MAX];
    size_t count = 0;

    for (;;) {
        size_t bytes = strcspn(text, ",");
        char word[64];
        int err;

        if (!bytes)
            return refuse(why, "fault plan: an empty word; allowed: ACTION@N[,...]");
        if (bytes >= sizeof(word))
            return refuse_name(why, text);
        if (count == HV_NIC_FAULT_RULES_MAX)
            return refuse(why, "fault plan: more than %u faults", HV_NIC_FAULT_RULES_MAX);
        memcpy(word, text, bytes);
        word[bytes] = '\0';
        err = parse_rule(word, &rules[count], why);
        if (err)
            return err;
        count++;
        if (!text[bytes])
            break;
        text += bytes + 1;
    }
    memset(ret_plan, 0, sizeof(*ret_plan));
    memcpy(ret_plan->rules, rules, count * sizeof(rules[0]));
    ret_plan->count = count;
    return 0;
}

const struct hv_netvsp_fault_rule *hv_netvsp_fault_next(struct hv_netvsp_fault_plan *plan,
                                                        enum hv_netvsp_fault_class counts)
{
    uint64_t n = atomic_fetch_add_explicit(&plan->seen[counts], 1, memory_order_relaxed) + 1;

    for (size_t i = 0; i < plan->count; i++) {
        const struct hv_netvsp_fault_rule *rule = &plan->rules[i];

        if (rule->counts == counts && (n == rule->first || (n > rule->first && rule->every &&
                                                            (n - rule->first) % rule->every == 0)))
            return rule;
    }
    return NULL;
}

int hv_netvsp_parse_fault(const char *plan, char why[HV_NETVSP_WHY_BYTES])
{
    struct hv_netvsp_fault_plan ignored;

    return hv_netvsp_fault_parse(plan, &ignored, why);
}
