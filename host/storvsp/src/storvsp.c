/* SPDX-License-Identifier: BSD-3-Clause */
/* The controller: what its owner does with it, and who is connected to it. */
#include "storvsp_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/log.h>

#define TRANSFER_MIN_BYTES 4096u
#define TRANSFER_MAX_BYTES (8u << 20)

static const struct hv_guid default_instance =
    HV_GUID_INIT(0x5c510000u, 0x7662u, 0x4d75u, 0xb5, 0x00, 0x73, 0x74, 0x6f, 0x72, 0x76, 0x73);

void hv_storvsp_kick(struct hv_storvsp_channel *ch)
{
    uint64_t one = 1;

    /* The descriptor first: whoever sees the flag empties it and finds something in it. */
    if (write(ch->event_fd, &one, sizeof(one)) < 0) {
        /* Full after 2^64 - 1 kicks only, and then it is readable anyway. */
    }
    atomic_store_explicit(&ch->kicked, true, memory_order_release);
}

static void kick_all(struct hv_storvsp *sp)
{
    for (struct hv_storvsp_guest *guest = sp->guests; guest; guest = guest->next)
        for (struct hv_storvsp_channel *ch = guest->channels; ch; ch = ch->next)
            hv_storvsp_kick(ch);
}

struct hv_storvsp_guest *hv_storvsp_get_guest(struct hv_storvsp *sp, uint32_t id)
{
    struct hv_storvsp_guest *guest;

    for (guest = sp->guests; guest; guest = guest->next)
        if (guest->id == id)
            return guest;
    guest = calloc(1, sizeof(*guest));
    if (!guest)
        return NULL;
    guest->storvsp = sp;
    guest->id = id;
    guest->session.max_version = sp->max_version;
    guest->session.max_sub_channels = sp->max_sub_channels;
    guest->session.max_transfer_bytes = sp->max_transfer_bytes;
    guest->next = sp->guests;
    sp->guests = guest;
    return guest;
}

static void guest_gone(void *device_ctx, uint32_t guest_id)
{
    struct hv_storvsp *sp = device_ctx;
    struct hv_storvsp_guest **at, *guest = NULL;

    pthread_mutex_lock(&sp->lock);
    for (at = &sp->guests; *at; at = &(*at)->next)
        if ((*at)->id == guest_id) {
            guest = *at;
            *at = guest->next;
            break;
        }
    pthread_mutex_unlock(&sp->lock);
    for (size_t i = 0; i < HV_STORVSP_LUNS; i++) /* only this thread changes the table */
        if (guest && sp->luns[i])
            hv_disk_forget_initiator(sp->luns[i]->disk, guest_id);
    free(guest);
}

static const struct hv_host_device_ops device_ops = {
    .open = hv_storvsp_open,
    .poll = hv_storvsp_poll,
    .arm = hv_storvsp_arm,
    .close = hv_storvsp_close,
    .guest_gone = guest_gone,
};

static int version_known(uint16_t version)
{
    return version == HV_VSTOR_VERSION_2_0 || version == HV_VSTOR_VERSION_4_2 ||
           version == HV_VSTOR_VERSION_5_1 || version == HV_VSTOR_VERSION_6_0 ||
           version == HV_VSTOR_VERSION_6_2;
}

static int take_options(struct hv_storvsp *sp, const struct hv_storvsp_opts *opts)
{
    char why[HV_DISK_WHY_BYTES];

    sp->log = opts->log;
    sp->max_version = opts->max_version ? opts->max_version : HV_VSTOR_VERSION_6_2;
    sp->max_sub_channels = opts->max_sub_channels;
    sp->max_transfer_bytes =
        opts->max_transfer_bytes ? opts->max_transfer_bytes : HV_STORVSP_TRANSFER;
    sp->depth = opts->depth ? opts->depth : HV_STORVSP_DEPTH;
    if (!version_known(sp->max_version)) {
        hv_log(&sp->log, HV_LOG_ERROR, "storvsp: version 0x%04x is none of 2.0, 4.2, 5.1, 6.0, 6.2",
               sp->max_version);
        return -EINVAL;
    }
    if (sp->max_transfer_bytes < TRANSFER_MIN_BYTES ||
        sp->max_transfer_bytes > TRANSFER_MAX_BYTES) {
        hv_log(&sp->log, HV_LOG_ERROR, "storvsp: transfer limit %u is not within 4096 to 8388608",
               sp->max_transfer_bytes);
        return -EINVAL;
    }
    if (sp->depth > HV_STORVSP_DEPTH_MAX) {
        hv_log(&sp->log, HV_LOG_ERROR, "storvsp: depth %u is above %u", sp->depth,
               HV_STORVSP_DEPTH_MAX);
        return -EINVAL;
    }
    if (!opts->fault)
        return 0;
    sp->fault = calloc(1, sizeof(*sp->fault));
    if (!sp->fault)
        return -ENOMEM;
    if (hv_storvsp_fault_parse(opts->fault, sp->fault, why)) {
        hv_log(&sp->log, HV_LOG_ERROR, "storvsp: %s", why);
        return -EINVAL;
    }
    return 0;
}

static void free_all(struct hv_storvsp *sp)
{
    while (sp->guests) {
        struct hv_storvsp_guest *guest = sp->guests;

        sp->guests = guest->next;
        free(guest);
    }
    for (size_t i = 0; i < HV_STORVSP_LUNS; i++)
        free(sp->luns[i]);
    pthread_mutex_destroy(&sp->lock);
    free(sp->fault);
    free(sp);
}

int hv_storvsp_create(struct hv_host *host, const struct hv_storvsp_opts *opts,
                      struct hv_storvsp **ret_storvsp)
{
    static const struct hv_guid none;
    struct hv_storvsp_opts o = HV_STORVSP_OPTS_INIT;
    struct hv_host_device_opts device = {
        .size = sizeof(device), .class_id = HV_CLASS_SCSI, .instance_id = default_instance};
    struct hv_storvsp *sp;
    int ret;

    if (!opts->size || opts->size > sizeof(o))
        return -EINVAL; /* the log hook cannot be trusted either */
    memcpy(&o, opts, opts->size);
    device.monitored = o.monitored;
    device.max_sub_channels = o.max_sub_channels;
    sp = calloc(1, sizeof(*sp));
    if (!sp)
        return -ENOMEM;
    sp->host = host;
    pthread_mutex_init(&sp->lock, NULL);
    atomic_init(&sp->generation, 1);
    ret = take_options(sp, &o);
    if (!ret) {
        if (memcmp(&o.instance_id, &none, sizeof(none)) != 0)
            device.instance_id = o.instance_id;
        ret = hv_host_device_offer(host, &device, &device_ops, sp, &sp->device);
    }
    if (ret) {
        free_all(sp);
        return ret;
    }
    *ret_storvsp = sp;
    return 0;
}

/** Free the controller once nothing can reach it any more: neither channels nor luns on their way out. */
static void try_finish(struct hv_storvsp *sp)
{
    void (*gone)(void *arg) = sp->gone;
    void *arg = sp->gone_arg;

    if (!sp->withdrawn || sp->posted)
        return;
    for (size_t i = 0; i < HV_STORVSP_LUNS; i++)
        if (sp->luns[i])
            hv_disk_forget_initiators(sp->luns[i]->disk);
    free_all(sp);
    if (gone)
        gone(arg);
}

static void on_withdrawn(void *arg)
{
    struct hv_storvsp *sp = arg;

    sp->withdrawn = true;
    try_finish(sp);
}

void hv_storvsp_destroy(struct hv_storvsp *storvsp, void (*gone)(void *arg), void *arg)
{
    if (!storvsp) {
        if (gone)
            gone(arg);
        return;
    }
    storvsp->gone = gone;
    storvsp->gone_arg = arg;
    hv_host_device_withdraw(storvsp->device, on_withdrawn, storvsp);
}

int hv_storvsp_attach(struct hv_storvsp *storvsp, struct hv_disk *disk, uint8_t lun)
{
    struct hv_storvsp_lun *new;
    int ret = 0;

    if (lun >= HV_STORVSP_LUNS || !disk)
        return -EINVAL;
    new = calloc(1, sizeof(*new));
    if (!new)
        return -ENOMEM;
    new->storvsp = storvsp;
    new->disk = disk;
    new->lun = lun;
    hv_disk_set_max_transfer(disk, storvsp->max_transfer_bytes);
    pthread_mutex_lock(&storvsp->lock);
    if (storvsp->luns[lun]) {
        ret = -EBUSY;
    } else {
        storvsp->luns[lun] = new;
        atomic_fetch_add(&storvsp->generation, 1);
        kick_all(storvsp);
    }
    pthread_mutex_unlock(&storvsp->lock);
    if (ret)
        free(new);
    return ret;
}

/** Control thread: no channel refers to the lun any more. */
static void lun_gone(struct hv_host_work *work)
{
    struct hv_storvsp_lun *lun = hv_container_of(work, struct hv_storvsp_lun, work);
    struct hv_storvsp *sp = lun->storvsp;

    hv_disk_forget_initiators(lun->disk);
    if (lun->gone)
        lun->gone(lun->gone_arg);
    free(lun);
    sp->posted--;
    try_finish(sp);
}

void hv_storvsp_put_lun(struct hv_storvsp_lun *lun)
{
    if (--lun->references == 0 && lun->detached)
        hv_host_post(lun->storvsp->host, &lun->work);
}

int hv_storvsp_detach(struct hv_storvsp *storvsp, uint8_t lun, void (*gone)(void *arg), void *arg)
{
    struct hv_storvsp_lun *old = lun < HV_STORVSP_LUNS ? storvsp->luns[lun] : NULL;

    if (!old)
        return -ENOENT;
    pthread_mutex_lock(&storvsp->lock);
    storvsp->luns[lun] = NULL;
    old->detached = true;
    old->gone = gone;
    old->gone_arg = arg;
    old->work.run = lun_gone;
    storvsp->posted++;
    old->references++; /* ours, so that the end is posted in one place */
    atomic_fetch_add(&storvsp->generation, 1);
    kick_all(storvsp);
    hv_storvsp_put_lun(old);
    pthread_mutex_unlock(&storvsp->lock);
    return 0;
}

struct hv_disk *hv_storvsp_disk(struct hv_storvsp *storvsp, uint8_t lun)
{
    return lun < HV_STORVSP_LUNS && storvsp->luns[lun] ? storvsp->luns[lun]->disk : NULL;
}

void hv_storvsp_get_stats(struct hv_storvsp *storvsp, struct hv_storvsp_stats *ret_stats)
{
    struct hv_storvsp_stats sum;

    pthread_mutex_lock(&storvsp->lock);
    sum = storvsp->past;
    for (struct hv_storvsp_guest *guest = storvsp->guests; guest; guest = guest->next)
        for (struct hv_storvsp_channel *ch = guest->channels; ch; ch = ch->next)
            hv_storvsp_add_stats(&sum, ch);
    pthread_mutex_unlock(&storvsp->lock);
    *ret_stats = sum;
}

void hv_storvsp_add_stats(struct hv_storvsp_stats *sum, const struct hv_storvsp_channel *ch)
{
    const struct hv_storvsp_counters *c = &ch->counters;

    sum->requests += atomic_load_explicit(&c->requests, memory_order_relaxed);
    sum->read_bytes += atomic_load_explicit(&c->read_bytes, memory_order_relaxed);
    sum->write_bytes += atomic_load_explicit(&c->write_bytes, memory_order_relaxed);
    sum->errors += atomic_load_explicit(&c->errors, memory_order_relaxed);
    sum->malformed += atomic_load_explicit(&c->malformed, memory_order_relaxed);
    sum->batches += atomic_load_explicit(&c->batches, memory_order_relaxed);
    sum->in_flight += atomic_load_explicit(&ch->in_flight_shown, memory_order_relaxed);
    sum->channels++;
}
