/* SPDX-License-Identifier: BSD-3-Clause */
#include "nics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "nic_option.h"
#include "report.h"

struct slot {
    struct nics *nics;
    struct hv_netvsp *nic; /* NULL = free */
    char *text;            /* as it was given */
    bool leaving;
    void (*done)(void *arg);
    void *done_arg;
};

struct nics {
    struct hv_host *host;
    unsigned count; /* that are not gone */
    void (*done)(void *arg);
    void *done_arg;
    struct slot slots[NICS_MAX];
};

int nics_add(struct nics *nics, const char *text, unsigned *ret_number, char *why)
{
    char mac[NIC_MAC_TEXT_BYTES], guid[NIC_GUID_TEXT_BYTES];
    struct hv_netvsp_state state;
    struct nic_option option;
    struct slot *slot = nics->slots;
    int err;

    while (slot < nics->slots + NICS_MAX && slot->nic)
        slot++;
    if (slot == nics->slots + NICS_MAX)
        return hv_option_fail(why, "more than %u NICs", NICS_MAX);
    err = nic_option_parse(text, &option, why);
    if (err)
        return err;
    option.opts.log = report_hook();
    slot->text = strdup(text);
    err = slot->text ? hv_netvsp_create(nics->host, &option.opts, why, &slot->nic) : -ENOMEM;
    nic_option_fini(&option);
    if (err) {
        free(slot->text);
        slot->text = NULL;
        if (err == -ENOMEM)
            (void)hv_option_fail(why, "out of memory");
        return err;
    }
    slot->nics = nics;
    slot->leaving = false;
    nics->count++;
    hv_netvsp_get_state(slot->nic, &state);
    nic_mac_text(state.mac, mac);
    nic_guid_text(&state.instance_id, guid);
    report(HV_LOG_INFO, "NIC %u: %s, MAC %s, %u queue%s, %s", (unsigned)(slot - nics->slots), text,
           mac, state.queues, state.queues == 1 ? "" : "s", guid);
    *ret_number = (unsigned)(slot - nics->slots);
    return 0;
}

int nics_create(struct hv_host *host, const struct options *options, struct nics **ret_nics)
{
    struct nics *nics = calloc(1, sizeof(*nics));
    char why[HV_OPTION_WHY_BYTES];

    if (!nics)
        return -ENOMEM;
    nics->host = host;
    *ret_nics = nics; /* on failure too: the owner withdraws what there is */
    for (unsigned i = 0; i < options->nic_count; i++) {
        unsigned number;
        int err = nics_add(nics, options->nics[i], &number, why);

        if (err) {
            report(HV_LOG_ERROR, "--nic %s: %s", options->nics[i], why);
            return err;
        }
    }
    return 0;
}

static void on_gone(void *arg)
{
    struct slot *slot = arg;
    struct nics *nics = slot->nics;
    void (*done)(void *arg) = slot->done;

    report(HV_LOG_INFO, "NIC %u: gone", (unsigned)(slot - nics->slots));
    free(slot->text);
    slot->text = NULL;
    slot->nic = NULL;
    slot->leaving = false;
    slot->done = NULL;
    nics->count--;
    if (done)
        done(slot->done_arg);
    if (!nics->count && nics->done) {
        done = nics->done;
        nics->done = NULL;
        done(nics->done_arg);
    }
}

static void take_away(struct slot *slot, void (*done)(void *arg), void *arg)
{
    slot->leaving = true;
    slot->done = done;
    slot->done_arg = arg;
    hv_netvsp_destroy(slot->nic, on_gone, slot);
}

void nics_withdraw(struct nics *nics, void (*done)(void *arg), void *arg)
{
    nics->done = done;
    nics->done_arg = arg;
    if (!nics->count) {
        nics->done = NULL;
        done(arg);
        return;
    }
    for (unsigned i = 0; i < NICS_MAX; i++)
        if (nics->slots[i].nic && !nics->slots[i].leaving)
            take_away(&nics->slots[i], NULL, NULL);
}

void nics_destroy(struct nics *nics)
{
    free(nics);
}

/** NULL, and a sentence, when there is none. */
static struct slot *find(struct nics *nics, unsigned number, char *why)
{
    struct slot *slot = number < NICS_MAX ? &nics->slots[number] : NULL;

    if (!slot || !slot->nic || slot->leaving) {
        (void)hv_option_fail(why, "there is no NIC %u", number);
        return NULL;
    }
    return slot;
}

int nics_remove(struct nics *nics, unsigned number, void (*done)(void *arg), void *arg, char *why)
{
    struct slot *slot = find(nics, number, why);

    if (!slot)
        return -ENOENT;
    take_away(slot, done, arg);
    return 0;
}

int nics_set_link(struct nics *nics, unsigned number, bool up, char *why)
{
    struct slot *slot = find(nics, number, why);

    if (!slot)
        return -ENOENT;
    hv_netvsp_set_link(slot->nic, up);
    report(HV_LOG_INFO, "NIC %u: link %s", number, up ? "up" : "down");
    return 0;
}

int nics_set_vf(struct nics *nics, unsigned number, bool present, uint32_t serial, char *why)
{
    struct slot *slot = find(nics, number, why);

    if (!slot)
        return -ENOENT;
    hv_netvsp_set_vf(slot->nic, present, serial);
    return 0;
}

/* ---- JSON ---- */

static void add_text(struct json_object *object, const char *key, const char *text)
{
    json_object_object_add(object, key, json_object_new_string(text));
}

static void add_number(struct json_object *object, const char *key, uint64_t value)
{
    json_object_object_add(object, key, json_object_new_uint64(value));
}

static void add_flag(struct json_object *object, const char *key, bool value)
{
    json_object_object_add(object, key, json_object_new_boolean(value));
}

static struct json_object *nic_json(const struct slot *slot, unsigned number)
{
    struct json_object *one = json_object_new_object();
    char mac[NIC_MAC_TEXT_BYTES], guid[NIC_GUID_TEXT_BYTES];
    struct hv_netvsp_state s;

    hv_netvsp_get_state(slot->nic, &s);
    add_number(one, "nic", number);
    add_text(one, "option", slot->text);
    nic_guid_text(&s.instance_id, guid);
    add_text(one, "instance", guid);
    nic_mac_text(s.mac, mac);
    add_text(one, "mac", mac);
    nic_mac_text(s.current_mac, mac);
    add_text(one, "current_mac", mac);
    add_number(one, "queues", s.queues);
    add_number(one, "max_mtu", s.max_mtu);
    add_number(one, "bits_per_second", s.link_bits_per_second);
    add_flag(one, "link_up", s.link_up);
    add_flag(one, "carrier", s.carrier);
    add_number(one, "guest", s.guest_id);
    add_number(one, "open_channels", s.open_channels);
    add_number(one, "nvsp_version", s.nvsp_version);
    add_number(one, "mtu", s.mtu);
    add_number(one, "packet_filter", s.packet_filter);
    add_flag(one, "rss", s.rss);
    add_flag(one, "vf_present", s.vf_present);
    add_flag(one, "vf_active", s.vf_active);
    add_number(one, "vf_serial", s.vf_serial);
    add_flag(one, "leaving", slot->leaving);
    return one;
}

struct json_object *nics_json(const struct nics *nics)
{
    struct json_object *list = json_object_new_array();

    for (unsigned i = 0; i < NICS_MAX; i++)
        if (nics->slots[i].nic)
            (void)json_object_array_add(list, nic_json(&nics->slots[i], i));
    return list;
}

static struct json_object *nic_stats_json(struct hv_netvsp *nic, unsigned number)
{
    struct json_object *one = json_object_new_object();
    struct hv_netvsp_stats s;

    hv_netvsp_get_stats(nic, &s);
    add_number(one, "nic", number);
    add_number(one, "from_guest_packets", s.from_guest_packets);
    add_number(one, "from_guest_bytes", s.from_guest_bytes);
    add_number(one, "from_guest_messages", s.from_guest_messages);
    add_number(one, "to_guest_packets", s.to_guest_packets);
    add_number(one, "to_guest_bytes", s.to_guest_bytes);
    add_number(one, "to_guest_messages", s.to_guest_messages);
    add_number(one, "signals_from_guest", s.signals_from_guest);
    add_number(one, "signals_to_guest", s.signals_to_guest);
    add_number(one, "dropped_no_buffer", s.dropped_no_buffer);
    add_number(one, "buffer_ran_dry", s.buffer_ran_dry);
    add_number(one, "dropped_filter", s.dropped_filter);
    add_number(one, "dropped_bad", s.dropped_bad);
    add_number(one, "dropped_link", s.dropped_link);
    add_number(one, "segmented", s.segmented);
    add_number(one, "checksummed", s.checksummed);
    add_number(one, "control_messages", s.control_messages);
    add_number(one, "handed_over", s.handed_over);
    return one;
}

struct json_object *nics_stats_json(const struct nics *nics)
{
    struct json_object *list = json_object_new_array();

    for (unsigned i = 0; i < NICS_MAX; i++)
        if (nics->slots[i].nic && !nics->slots[i].leaving)
            (void)json_object_array_add(list, nic_stats_json(nics->slots[i].nic, i));
    return list;
}
