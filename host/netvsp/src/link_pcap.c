/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcap: frames from a capture file, frames of the guest into another.  libpcap reads every format that it knows (pcap of
 * both byte orders and resolutions, pcapng) and has the years behind it that a parser of hostile files needs.
 *
 * One worker at a time reads or writes a file, under a lock: the order of a file is one for all queues, and this link is
 * for replaying and looking, not for speed.
 */
#include "link_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <pcap/pcap.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <hv/base/bits.h>
#include <hv/base/log.h>

#include "frame.h"

#define SNAP_BYTES 262144 /* what tcpdump writes */
#define RUN_MAX    32u    /* frames in one delivery */

struct replay {
    pcap_t *pcap; /* NULL: nothing to replay, or all done */
    uint64_t rounds_left;
    bool for_ever;
    bool round_had_frames;
    /* Read, not delivered yet. */
    uint32_t next, count;
    struct hv_frame frames[RUN_MAX];
    struct iovec iov[RUN_MAX][2];
    uint8_t *memory; /* RUN_MAX pieces of frame_bytes */
    uint32_t frame_bytes;
};

struct recording {
    pcap_t *pcap;
    pcap_dumper_t *dumper; /* NULL: records nothing */
    uint8_t *memory;       /* one frame in one piece */
};

struct pcap_link {
    char *in_path;
    pthread_mutex_t in_lock, out_lock;
    struct replay in;
    struct recording out;
    bool is_truncated_told;
    bool is_full_told;
};

/* ---- replay ---- */

static int open_regular(const char *path, int flags, struct stat *ret_stat,
                        char why[HV_NETVSP_WHY_BYTES])
{
    /* Not to wait for ever on a pipe that somebody named. */
    int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC, 0666);
    int err;

    if (fd < 0) {
        err = errno == ENOENT || errno == EACCES || errno == EPERM ? -errno : -EINVAL;
        return hv_link_fail(why, err == -EACCES ? -EPERM : err, "pcap: %.120s: %s", path,
                            strerror(errno));
    }
    if (fstat(fd, ret_stat) || !S_ISREG(ret_stat->st_mode)) {
        (void)close(fd);
        return hv_link_fail(why, -EINVAL, "pcap: %.120s is no regular file", path);
    }
    return fd;
}

static void close_in(struct replay *in)
{
    if (in->pcap)
        pcap_close(in->pcap);
    in->pcap = NULL;
}

static int open_in(struct pcap_link *p, struct stat *ret_stat, char why[HV_NETVSP_WHY_BYTES])
{
    char text[PCAP_ERRBUF_SIZE] = "";
    int fd = open_regular(p->in_path, O_RDONLY, ret_stat, why);
    int type;
    FILE *file;

    if (fd < 0)
        return fd;
    file = fdopen(fd, "rb");
    if (!file) {
        (void)close(fd);
        return hv_link_fail(why, -ENOMEM, "no memory for a capture file");
    }
    p->in.pcap = pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, text);
    if (!p->in.pcap) {
        (void)fclose(file);
        return hv_link_fail(why, -EINVAL, "pcap: %.80s: %.120s", p->in_path, text);
    }
    type = pcap_datalink(p->in.pcap);
    if (type != DLT_EN10MB) {
        const char *name = pcap_datalink_val_to_name(type);

        close_in(&p->in);
        return hv_link_fail(why, -EINVAL, "pcap: %.120s has frames of type %s (%d), not Ethernet",
                            p->in_path, name ? name : "unknown", type);
    }
    p->in.round_had_frames = false;
    return 0;
}

/*
 * Behind the last frame, or in front of one that cannot be read.  False = no more rounds.  Another round opens the file
 * again: seeking back would make libpcap collect the interfaces of a pcapng file once more in every round.
 */
static bool next_round(struct hv_link *link, struct pcap_link *p, int result)
{
    struct replay *in = &p->in;
    bool had_frames = in->round_had_frames;
    char why[HV_NETVSP_WHY_BYTES];
    struct stat st;

    if (result == PCAP_ERROR)
        hv_log(&link->log, HV_LOG_WARNING, "pcap: %s: %s", p->in_path, pcap_geterr(in->pcap));
    close_in(in);
    if (result == PCAP_ERROR || !had_frames || (!in->for_ever && --in->rounds_left == 0))
        return false;
    if (open_in(p, &st, why)) {
        hv_log(&link->log, HV_LOG_WARNING, "%s", why);
        return false;
    }
    return true;
}

static void take_in(struct hv_link *link, struct pcap_link *p, struct hv_link_queue *queue,
                    const struct pcap_pkthdr *header, const u_char *data)
{
    struct replay *in = &p->in;
    uint8_t *to = in->memory + (size_t)in->count * in->frame_bytes;
    struct hv_frame *frame = &in->frames[in->count];

    if (header->caplen < header->len && !p->is_truncated_told) {
        p->is_truncated_told = true;
        hv_log(&link->log, HV_LOG_WARNING,
               "pcap: %s holds only the first bytes of some frames; those are left out",
               p->in_path);
    }
    if (header->caplen != header->len || header->len < HV_FRAME_BYTES_MIN ||
        header->len > in->frame_bytes) {
        hv_link_count(&queue->count.deliver_dropped, 1);
        return;
    }
    memcpy(to, data, header->len);
    hv_frame_set(frame, in->iov[in->count], to, header->len);
    hv_offload_vlan_strip(frame, in->iov[in->count]);
    in->count++;
}

static void read_run(struct hv_link *link, struct pcap_link *p, struct hv_link_queue *queue)
{
    struct replay *in = &p->in;
    unsigned looked_at = 0;

    in->next = 0;
    in->count = 0;
    while (in->pcap && in->count < RUN_MAX && looked_at++ < 4 * RUN_MAX) {
        struct pcap_pkthdr *header;
        const u_char *data;
        int result = pcap_next_ex(in->pcap, &header, &data);

        if (result != 1) {
            if (!next_round(link, p, result))
                return;
            continue;
        }
        in->round_had_frames = true;
        take_in(link, p, queue, header, data);
    }
}

static int pcap_link_poll(struct hv_link *link, struct hv_link_queue *queue, uint16_t budget)
{
    struct pcap_link *p = link->impl;
    struct replay *in = &p->in;
    int done = 0;

    if (pthread_mutex_trylock(&p->in_lock))
        return 0; /* another queue's worker is at it */
    while (done < budget) {
        uint32_t count;
        uint16_t taken;

        if (in->next == in->count)
            read_run(link, p, queue);
        count = hv_min_u32(in->count - in->next, (uint32_t)(budget - done));
        if (!count)
            break;
        taken = hv_link_deliver(link, queue, -1, in->frames + in->next, (uint16_t)count);
        in->next += taken;
        done += taken;
        if (taken < count)
            break;
    }
    (void)pthread_mutex_unlock(&p->in_lock);
    return done;
}

static bool pcap_link_arm(struct hv_link *link, struct hv_link_queue *queue)
{
    struct pcap_link *p = link->impl;
    bool more;

    if (queue->is_blocked || pthread_mutex_trylock(&p->in_lock))
        return false;
    more = p->in.pcap || p->in.next < p->in.count;
    (void)pthread_mutex_unlock(&p->in_lock);
    return more;
}

/* ---- recording ---- */

static int open_out(struct pcap_link *p, const char *path, const struct stat *in,
                    char why[HV_NETVSP_WHY_BYTES])
{
    struct stat st;
    int fd = open_regular(path, O_WRONLY | O_CREAT, &st, why);
    FILE *file;

    if (fd < 0)
        return fd;
    if (in && in->st_dev == st.st_dev && in->st_ino == st.st_ino) {
        (void)close(fd);
        return hv_link_fail(why, -EINVAL, "pcap: %.80s would be read and overwritten at once",
                            path);
    }
    file = ftruncate(fd, 0) ? NULL : fdopen(fd, "wb");
    if (!file) {
        (void)close(fd);
        return hv_link_fail(why, -EINVAL, "pcap: %.120s: cannot be written", path);
    }
    p->out.memory = malloc(HV_FRAME_BYTES_MAX + 4);
    p->out.pcap =
        pcap_open_dead_with_tstamp_precision(DLT_EN10MB, SNAP_BYTES, PCAP_TSTAMP_PRECISION_NANO);
    if (p->out.memory && p->out.pcap)
        p->out.dumper = pcap_dump_fopen(p->out.pcap, file);
    if (!p->out.dumper) {
        (void)fclose(file);
        return hv_link_fail(why, -EINVAL, "pcap: %.80s: %.120s", path,
                            p->out.pcap ? pcap_geterr(p->out.pcap) : "no memory");
    }
    return 0;
}

struct record_way {
    struct hv_link *link;
    struct hv_link_queue *queue;
};

static void record(void *arg, const struct hv_frame *frames, uint16_t count)
{
    const struct record_way *way = arg;
    struct pcap_link *p = way->link->impl;
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    for (uint16_t i = 0; i < count; i++) {
        const struct hv_frame *frame = &frames[i];
        struct iovec iov[HV_VLAN_PIECES];
        uint8_t head[HV_VLAN_HEAD_BYTES];
        struct pcap_pkthdr header;
        struct hv_frame tagged;

        if (frame->flags & HV_FRAME_VLAN) {
            hv_offload_vlan_insert(frame, head, iov, &tagged);
            frame = &tagged;
        }
        header.len = (bpf_u_int32)hv_frame_copy(frame, 0, p->out.memory, HV_FRAME_BYTES_MAX + 4);
        header.caplen = header.len;
        header.ts.tv_sec = now.tv_sec;
        header.ts.tv_usec = now.tv_nsec; /* of a dead pcap_t with nanoseconds */
        pcap_dump((u_char *)p->out.dumper, &header, p->out.memory);
    }
    if (ferror(pcap_dump_file(p->out.dumper)) && !p->is_full_told) {
        p->is_full_told = true;
        hv_log(&way->link->log, HV_LOG_WARNING, "pcap: the recording could not be written");
    }
}

static void pcap_link_send(struct hv_link *link, struct hv_link_queue *queue,
                           const struct hv_frame *frames, uint16_t count)
{
    struct pcap_link *p = link->impl;
    struct record_way way = {link, queue};

    hv_link_sink.send(link, queue, frames, count);
    if (!p->out.dumper)
        return;
    (void)pthread_mutex_lock(&p->out_lock);
    hv_link_finish(queue, frames, count, record, &way);
    (void)pthread_mutex_unlock(&p->out_lock);
}

/* ---- both ---- */

static void pcap_link_destroy(struct hv_link *link)
{
    struct pcap_link *p = link->impl;

    if (!p)
        return;
    close_in(&p->in);
    if (p->out.dumper)
        pcap_dump_close(p->out.dumper);
    if (p->out.pcap)
        pcap_close(p->out.pcap);
    free(p->in.memory);
    free(p->out.memory);
    free(p->in_path);
    (void)pthread_mutex_destroy(&p->in_lock);
    (void)pthread_mutex_destroy(&p->out_lock);
    free(p);
}

/* "IN[,OUT][,repeat=N]" */
static int parse(struct pcap_link *p, char *text, char **ret_out, char why[HV_NETVSP_WHY_BYTES])
{
    uint64_t repeat = 1;

    *ret_out = NULL;
    p->in_path = strdup(strsep(&text, ","));
    if (!p->in_path)
        return hv_link_fail(why, -ENOMEM, "no memory for a capture file");
    while (text) {
        char *piece = strsep(&text, ",");
        int is = hv_link_option(piece, "repeat", 0, UINT64_MAX, &repeat, why);

        if (is < 0)
            return is;
        if (!is && *ret_out)
            return hv_link_fail(why, -EINVAL,
                                "pcap: \"%.80s\": neither IN, OUT nor repeat=N (0 = for ever)",
                                piece);
        if (!is)
            *ret_out = piece;
    }
    p->in.rounds_left = repeat;
    p->in.for_ever = repeat == 0;
    return 0;
}

static int pcap_link_create(struct hv_link *link, char *text, char why[HV_NETVSP_WHY_BYTES])
{
    struct pcap_link *p = calloc(1, sizeof(*p));
    struct stat in_stat = {0};
    char *out_path;
    bool have_in, have_out;
    int err;

    if (!p)
        return hv_link_fail(why, -ENOMEM, "no memory for a capture file");
    link->impl = p;
    (void)pthread_mutex_init(&p->in_lock, NULL);
    (void)pthread_mutex_init(&p->out_lock, NULL);
    p->in.frame_bytes = hv_min_u32(link->frame_bytes_max, HV_FRAME_BYTES_MAX);
    err = parse(p, text, &out_path, why);
    if (err)
        return err;
    have_in = *p->in_path;
    have_out = out_path && *out_path;
    if (!have_in && !have_out)
        return hv_link_fail(why, -EINVAL, "pcap: needs a file to replay or one to record into");
    if (have_in) {
        p->in.memory = malloc((size_t)RUN_MAX * p->in.frame_bytes);
        err = p->in.memory ? open_in(p, &in_stat, why)
                           : hv_link_fail(why, -ENOMEM, "no memory for a capture file");
    }
    if (!err && have_out)
        err = open_out(p, out_path, have_in ? &in_stat : NULL, why);
    return err;
}

const struct hv_link_ops hv_link_pcap = {
    .name = "pcap",
    .takes_text = true,
    .create = pcap_link_create,
    .destroy = pcap_link_destroy,
    .send = pcap_link_send,
    .poll = pcap_link_poll,
    .arm = pcap_link_arm,
};
