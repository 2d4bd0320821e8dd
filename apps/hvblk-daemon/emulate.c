/* SPDX-License-Identifier: BSD-3-Clause */
#include "emulate.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hv/storvsp.h>

#include "log.h"
#include "mailbox.h"
#include "reactor.h"

#define GUESTS_MAX  4u /* one, and those that are on their way out */
#define LEAVE_TRIES 100
#define LEAVE_MS    50

enum {
    MAIL_CONNECT, /* data: int, the host's end */
    MAIL_LEND,
    MAIL_TAKE_BACK,
    MAIL_REFRESH,
    MAIL_STOP,
};

struct guest {
    struct hv_host_guest *guest;
    bool lent;    /* reactors poll its workers */
    bool removed; /* gone; to be put once it is not lent */
};

struct disk {
    struct hv_disk *disk;
    bool file;
};

struct emulate {
    struct hv_host *host;
    struct hv_storvsp *storvsp;
    struct disk disks[HV_DISK_OPTION_LUNS];
    unsigned disk_count, attached;
    struct guest guests[GUESTS_MAX];
    unsigned guest_count; /* newest last */
    struct mailbox mailbox;
    pthread_t thread;
    bool started, stop;
    unsigned leaving; /* detaches and the withdrawal still under way */
};

struct lend {
    struct hv_host_worker **workers;
    unsigned max, count;
};

/* ---- Guests ---- */

static void put_removed(struct emulate *emulate)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < emulate->guest_count; i++) {
        struct guest guest = emulate->guests[i];

        if (guest.removed && !guest.lent)
            hv_host_guest_put(guest.guest);
        else
            emulate->guests[kept++] = guest;
    }
    emulate->guest_count = kept;
}

static void guest_added(void *arg, struct hv_host_guest *guest)
{
    struct emulate *emulate = arg;

    if (emulate->guest_count < GUESTS_MAX) /* max_guests says so too */
        emulate->guests[emulate->guest_count++] = (struct guest){.guest = guest};
}

/** Put from the loop, not from within the host's own poll. */
static void guest_removed(void *arg, struct hv_host_guest *guest)
{
    struct emulate *emulate = arg;

    for (unsigned i = 0; i < emulate->guest_count; i++)
        if (emulate->guests[i].guest == guest)
            emulate->guests[i].removed = true;
}

/* ---- The thread ---- */

static void lend(struct emulate *emulate, struct lend *lend)
{
    struct guest *newest = NULL;

    for (unsigned i = 0; i < emulate->guest_count; i++)
        if (!emulate->guests[i].removed)
            newest = &emulate->guests[i];
    lend->count = 0;
    if (!newest)
        return;
    newest->lent = true;
    while (lend->count < lend->max && lend->count < hv_host_guest_worker_count(newest->guest)) {
        lend->workers[lend->count] = hv_host_guest_worker(newest->guest, (uint16_t)lend->count);
        lend->count++;
    }
}

static void refresh(struct emulate *emulate)
{
    for (unsigned i = 0; i < emulate->disk_count; i++)
        if (emulate->disks[i].file && hv_disk_resize(emulate->disks[i].disk, 0))
            log_line(HV_LOG_WARNING, "rescan: the size of disk %u cannot be used", i);
}

static void gone(void *arg)
{
    struct emulate *emulate = arg;

    emulate->leaving--;
}

/** Take the disks and the controller away; the loop goes on until they are. */
static void leave(struct emulate *emulate)
{
    for (unsigned i = 0; i < emulate->attached; i++) {
        emulate->leaving++;
        if (hv_storvsp_detach(emulate->storvsp, (uint8_t)i, gone, emulate))
            emulate->leaving--;
    }
    emulate->attached = 0;
    if (emulate->storvsp) {
        emulate->leaving++;
        hv_storvsp_destroy(emulate->storvsp, gone, emulate);
        emulate->storvsp = NULL;
    }
    emulate->stop = true;
}

static void handle(struct emulate *emulate, struct mail *mail)
{
    switch (mail->kind) {
    case MAIL_CONNECT:
        *(int *)mail->data = hv_host_adopt(emulate->host, mail->fd);
        break;
    case MAIL_LEND:
        lend(emulate, mail->data);
        break;
    case MAIL_TAKE_BACK:
        for (unsigned i = 0; i < emulate->guest_count; i++)
            emulate->guests[i].lent = false;
        break;
    case MAIL_REFRESH:
        refresh(emulate);
        break;
    default: /* MAIL_STOP */
        leave(emulate);
        break;
    }
    mailbox_answer(mail);
}

/** Runs `act` for every worker that is ours; true when any call said so. */
static bool each_worker(struct emulate *emulate, bool (*act)(struct hv_host_worker *worker))
{
    bool any = false;

    for (unsigned i = 0; i < emulate->guest_count; i++) {
        const struct guest *guest = &emulate->guests[i];

        if (guest->lent)
            continue;
        for (uint16_t w = 0; w < hv_host_guest_worker_count(guest->guest); w++)
            any |= act(hv_host_guest_worker(guest->guest, w));
    }
    return any;
}

static bool act_poll(struct hv_host_worker *worker)
{
    return hv_host_worker_poll(worker) > 0;
}

static bool act_disarm(struct hv_host_worker *worker)
{
    hv_host_worker_disarm(worker);
    return false;
}

static void wait_for_work(struct emulate *emulate)
{
    struct pollfd fds[2 + GUESTS_MAX * REACTOR_MAX];
    int timeout = hv_host_next_deadline_ms(emulate->host);
    nfds_t count = 0;

    fds[count++] = (struct pollfd){.fd = hv_host_fd(emulate->host), .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = emulate->mailbox.fd, .events = POLLIN};
    for (unsigned i = 0; i < emulate->guest_count; i++) {
        const struct guest *guest = &emulate->guests[i];

        for (uint16_t w = 0; !guest->lent && w < hv_host_guest_worker_count(guest->guest); w++)
            fds[count++] = (struct pollfd){
                .fd = hv_host_worker_fd(hv_host_guest_worker(guest->guest, w)), .events = POLLIN};
    }
    if (emulate->stop && (timeout < 0 || timeout > LEAVE_MS))
        timeout = LEAVE_MS;
    if (each_worker(emulate, hv_host_worker_arm))
        timeout = 0;
    (void)poll(fds, count, timeout); /* whatever woke us is looked for by everybody */
    (void)each_worker(emulate, act_disarm);
}

static void *run(void *arg)
{
    struct emulate *emulate = arg;
    int tries = LEAVE_TRIES;

    while (!emulate->stop || (emulate->leaving && tries-- > 0)) {
        struct mail *mail;
        int ret;

        while (mailbox_waiting(&emulate->mailbox) && (mail = mailbox_take(&emulate->mailbox)))
            handle(emulate, mail);
        ret = hv_host_poll(emulate->host);
        if (ret)
            log_line(HV_LOG_ERROR, "emulated host: %s", strerror(-ret));
        put_removed(emulate);
        if (!each_worker(emulate, act_poll))
            wait_for_work(emulate);
    }
    return NULL;
}

/* ---- Disks ---- */

static int add_disk(struct emulate *emulate, const struct hv_disk_option *option, unsigned copy,
                    char *why)
{
    struct hv_disk_opts opts = option->disk;
    struct disk *disk = &emulate->disks[emulate->disk_count];
    char path[4096], serial[72];
    int ret;

    if (emulate->disk_count == HV_DISK_OPTION_LUNS) {
        (void)snprintf(why, EMULATE_WHY_BYTES, "more than %u LUNs", HV_DISK_OPTION_LUNS);
        return -EINVAL;
    }
    if (copy && opts.path) {
        (void)snprintf(path, sizeof(path), "%s.%u", opts.path, copy);
        opts.path = path;
    }
    if (copy && opts.serial) {
        (void)snprintf(serial, sizeof(serial), "%.60s.%u", opts.serial, copy); /* at most 63 */
        opts.serial = serial;
    }
    opts.log = log_hook("disk");
    ret = hv_disk_create(&opts, why, &disk->disk);
    if (ret)
        return ret;
    disk->file = opts.store == HV_DISK_FILE;
    emulate->disk_count++;
    if (disk->file && !hv_disk_is_direct(disk->disk) && !opts.buffered)
        log_line(HV_LOG_WARNING, "%s: the file system refuses O_DIRECT; using the page cache",
                 opts.path);
    ret = hv_storvsp_attach(emulate->storvsp, disk->disk, (uint8_t)(emulate->disk_count - 1));
    if (ret)
        (void)snprintf(why, EMULATE_WHY_BYTES, "LUN %u: %s", emulate->disk_count - 1,
                       strerror(-ret));
    else
        emulate->attached = emulate->disk_count;
    return ret;
}

static int add_disks(struct emulate *emulate, const struct emulate_opts *opts, char *why)
{
    for (unsigned i = 0; i < opts->disk_count; i++)
        for (unsigned copy = 0; copy < opts->disks[i].luns; copy++) {
            int ret = add_disk(emulate, &opts->disks[i], copy, why);

            if (ret)
                return ret;
        }
    return 0;
}

static int make_host(struct emulate *emulate, const struct emulate_opts *opts, char *why)
{
    struct hv_host_opts host = HV_HOST_OPTS_INIT;
    struct hv_storvsp_opts storvsp = HV_STORVSP_OPTS_INIT;
    int ret;

    host.log = log_hook("host");
    host.max_version = opts->max_vmbus;
    host.max_guests = GUESTS_MAX;
    host.workers_per_guest = opts->workers;
    host.guest_added = guest_added;
    host.guest_removed = guest_removed;
    host.arg = emulate;
    ret = hv_host_create(&host, &emulate->host);
    if (!ret) {
        storvsp.log = log_hook("controller");
        storvsp.max_version = opts->max_storvsc;
        storvsp.max_sub_channels = (uint16_t)(opts->channels - 1);
        storvsp.max_transfer_bytes = opts->max_transfer_bytes;
        storvsp.monitored = opts->monitored;
        storvsp.fault = opts->fault;
        ret = hv_storvsp_create(emulate->host, &storvsp, &emulate->storvsp);
    }
    if (ret)
        (void)snprintf(why, EMULATE_WHY_BYTES, "the emulated host cannot be made: %s",
                       strerror(-ret));
    return ret;
}

/* ---- Life ---- */

int emulate_create(const struct emulate_opts *opts, char *why, struct emulate **ret_emulate)
{
    struct emulate *emulate = calloc(1, sizeof(*emulate));
    int ret;

    if (!emulate)
        return -ENOMEM;
    ret = mailbox_init(&emulate->mailbox);
    if (!ret)
        ret = make_host(emulate, opts, why);
    if (!ret)
        ret = add_disks(emulate, opts, why);
    if (!ret) {
        ret = -pthread_create(&emulate->thread, NULL, run, emulate);
        emulate->started = !ret;
        if (ret)
            (void)snprintf(why, EMULATE_WHY_BYTES, "no thread for the host: %s", strerror(-ret));
        else
            (void)pthread_setname_np(emulate->thread, "host"); /* only for people */
    }
    if (ret)
        emulate_destroy(emulate);
    else
        *ret_emulate = emulate;
    return ret;
}

static void call(struct emulate *emulate, unsigned kind, void *data, int fd)
{
    struct mail mail = {.kind = kind, .data = data, .fd = fd};

    mailbox_call(&emulate->mailbox, &mail);
}

void emulate_destroy(struct emulate *emulate)
{
    if (!emulate)
        return;
    if (!emulate->started && emulate->host) {
        leave(emulate);
        (void)run(emulate);
    } else if (emulate->started) {
        call(emulate, MAIL_STOP, NULL, -1);
        (void)pthread_join(emulate->thread, NULL);
    }
    hv_host_destroy(emulate->host);
    put_removed(emulate);
    if (emulate->leaving)
        log_line(HV_LOG_WARNING, "the emulated disks did not become idle in time");
    else
        for (unsigned i = 0; i < emulate->disk_count; i++)
            hv_disk_destroy(emulate->disks[i].disk);
    mailbox_fini(&emulate->mailbox);
    free(emulate);
}

int emulate_connect(struct emulate *emulate)
{
    int fds[2], ret;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
        return -errno;
    call(emulate, MAIL_CONNECT, &ret, fds[0]); /* takes its end over in any case */
    if (ret) {
        (void)close(fds[1]);
        return ret;
    }
    return fds[1];
}

unsigned emulate_lend(struct emulate *emulate, struct hv_host_worker **ret_workers, unsigned max)
{
    struct lend lend = {.workers = ret_workers, .max = max};

    call(emulate, MAIL_LEND, &lend, -1);
    return lend.count;
}

void emulate_take_back(struct emulate *emulate)
{
    call(emulate, MAIL_TAKE_BACK, NULL, -1);
}

void emulate_refresh(struct emulate *emulate)
{
    call(emulate, MAIL_REFRESH, NULL, -1);
}
