/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What disks are there: REPORT LUNS of every path and target, then a probe per LUN, several at a time, over queue 0 as
 * raw commands like anybody's.  Asynchronous: the same machine runs at open (hv_storvsc_wait), at hot plug, and after a
 * unit attention, while the queues are in use.
 *
 *   jobs:   REPORT LUNS x 16 ---> LUNs found ---> [ INQUIRY, TUR, VPD, READ CAPACITY, MODE SENSE ] each ---> table
 *
 * Only an answer that says so removes a LUN: when a probe fails otherwise, what was known stays.
 * Never sent: REPORT SUPPORTED OPERATION CODES (docs/wire.md "SCSI quirks").
 */
#include "storvsc_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATHS   8u
#define TARGETS 2u
#define REPORTS (PATHS * TARGETS)
/** Asked one by one where REPORT LUNS is refused. */
#define LUNS_WITHOUT_REPORT 64u

enum step {
    STEP_REPORT_LUNS,
    STEP_INQUIRY,
    STEP_READY, /* TEST UNIT READY: collects unit attentions before anything is read */
    STEP_VPD_LIST,
    STEP_VPD_SERIAL,
    STEP_VPD_IDENTIFIERS,
    STEP_VPD_LIMITS,
    STEP_VPD_ROTATION,
    STEP_VPD_PROVISIONING,
    STEP_CAPACITY16,
    STEP_CAPACITY10, /* only where the 16-byte form is refused */
    STEP_MODE10,
    STEP_MODE6, /* only where the 10-byte form is refused */
    STEP_END,
};

static const struct {
    uint8_t cdb[16];
    uint8_t cdb_bytes;
    uint8_t vpd_page;
    uint16_t data_bytes; /* allocation length; in the CDB already */
} steps[STEP_END] = {
    [STEP_REPORT_LUNS] = {{HV_SCSI_REPORT_LUNS, [8] = 0x10}, 12, 0, 0x1000},
    [STEP_INQUIRY] = {{HV_SCSI_INQUIRY, [4] = 96}, 6, 0, 96},
    [STEP_READY] = {{HV_SCSI_TEST_UNIT_READY}, 6, 0, 0},
    [STEP_VPD_LIST] = {{HV_SCSI_INQUIRY, 1, 0x00, [4] = 252}, 6, 0x00, 252},
    [STEP_VPD_SERIAL] = {{HV_SCSI_INQUIRY, 1, 0x80, [4] = 252}, 6, 0x80, 252},
    [STEP_VPD_IDENTIFIERS] = {{HV_SCSI_INQUIRY, 1, 0x83, [4] = 252}, 6, 0x83, 252},
    [STEP_VPD_LIMITS] = {{HV_SCSI_INQUIRY, 1, 0xb0, [4] = 64}, 6, 0xb0, 64},
    [STEP_VPD_ROTATION] = {{HV_SCSI_INQUIRY, 1, 0xb1, [4] = 64}, 6, 0xb1, 64},
    [STEP_VPD_PROVISIONING] = {{HV_SCSI_INQUIRY, 1, 0xb2, [4] = 64}, 6, 0xb2, 64},
    [STEP_CAPACITY16] = {{HV_SCSI_SERVICE_ACTION_IN_16, HV_SCSI_SAI_READ_CAPACITY_16, [13] = 32},
                         16,
                         0,
                         32},
    [STEP_CAPACITY10] = {{HV_SCSI_READ_CAPACITY_10}, 10, 0, 8},
    [STEP_MODE10] = {{HV_SCSI_MODE_SENSE_10, 0x08, 0x08, [8] = 252}, 10, 0, 252},
    [STEP_MODE6] = {{HV_SCSI_MODE_SENSE_6, 0x08, 0x08, [4] = 252}, 6, 0, 252},
};

struct probe {
    struct hv_storvsc_request request;
    struct iovec iov;
    struct hv_storvsc *storvsc;
    uint8_t *answer; /* a page of DMA memory: the host's to write */
    enum step step;
    bool busy;   /* has a job */
    bool unsent; /* and a command that found no room yet */
    struct hv_storvsc_identity id;
};

struct hv_storvsc_scan {
    struct hv_dma *dma;
    struct probe probes[HV_STORVSC_PROBES];
    bool idle;
    bool tell; /* the differences are news; not so at open */
    uint32_t busy;
    uint32_t next_report;
    struct hv_storvsc_address found[HV_STORVSC_LUNS_MAX];
    size_t found_count, next_found;
    uint64_t seen[REPORTS][4];   /* bit per LUN: is in found[] */
    bool report_failed[REPORTS]; /* keep what was known behind it */
    struct hv_storvsc_table result;
};

static void probe_done(struct hv_storvsc_request *request, const struct hv_storvsc_result *result);
static void next_jobs(struct hv_storvsc *s);

const bool *hv_storvsc_scan_idle(const struct hv_storvsc *s)
{
    return &s->scan->idle;
}

int hv_storvsc_scan_create(struct hv_storvsc *s)
{
    s->scan = calloc(1, sizeof(*s->scan));
    if (!s->scan)
        return -ENOMEM;
    s->scan->idle = true;
    return 0;
}

void hv_storvsc_scan_destroy(struct hv_storvsc *s)
{
    free(s->scan);
    s->scan = NULL;
}

int hv_storvsc_scan_attach(struct hv_storvsc *s)
{
    struct hv_storvsc_scan *scan = s->scan;
    int rc = hv_dma_alloc(s->bus, (size_t)HV_STORVSC_PROBES * HV_PAGE_BYTES, &scan->dma);

    if (rc)
        return rc;
    for (uint32_t i = 0; i < HV_STORVSC_PROBES; i++) {
        scan->probes[i].storvsc = s;
        scan->probes[i].answer = (uint8_t *)hv_dma_address(scan->dma) + (size_t)i * HV_PAGE_BYTES;
    }
    return 0;
}

void hv_storvsc_scan_detach(struct hv_storvsc *s)
{
    struct hv_storvsc_scan *scan = s->scan;

    hv_dma_free(scan->dma);
    scan->dma = NULL;
    scan->idle = true;
    scan->busy = 0;
    for (uint32_t i = 0; i < HV_STORVSC_PROBES; i++)
        scan->probes[i].busy = scan->probes[i].unsent = false;
}

/* ---- One probe ---- */

static void send_step(struct probe *p)
{
    struct hv_storvsc_request *r = &p->request;

    r->op = HV_STORVSC_SCSI;
    r->flags = 0;
    r->address = p->id.disk.lun.address;
    memcpy(r->cdb, steps[p->step].cdb, sizeof(r->cdb));
    r->cdb_bytes = steps[p->step].cdb_bytes;
    r->data_in = true;
    p->iov = (struct iovec){p->answer, steps[p->step].data_bytes};
    r->iov = &p->iov;
    r->iov_count = steps[p->step].data_bytes ? 1 : 0;
    r->done = probe_done;
    r->arg = p;
    memset(p->answer, 0, steps[p->step].data_bytes);
    /* No room: hv_storvsc_scan_pump() tries again.  A dead queue takes the scan with it. */
    p->unsent = hv_storvsc_submit_internal(p->storvsc->queues[0], r) != 0;
}

static void end_probe(struct probe *p)
{
    p->busy = false;
    p->storvsc->scan->busy--;
}

static void keep_known(struct hv_storvsc *s, struct hv_storvsc_address address)
{
    struct hv_storvsc_table *result = &s->scan->result;
    const struct hv_storvsc_disk *known = hv_storvsc_find(s->queues[0], address);

    hv_log(&s->opts.log, HV_LOG_WARNING, "LUN %u:%u:%u could not be examined; %s", address.path,
           address.target, address.lun, known ? "it stays as it was known" : "it is left out");
    if (known && result->count < HV_STORVSC_LUNS_MAX)
        result->disks[result->count++] = *known;
}

static void probe_is_complete(struct probe *p)
{
    struct hv_storvsc *s = p->storvsc;
    struct hv_storvsc_table *result = &s->scan->result;

    if (hv_storvsc_identity_finish(&p->id, s->version, s->max_transfer_bytes))
        keep_known(s, p->id.disk.lun.address);
    else if (result->count < HV_STORVSC_LUNS_MAX)
        result->disks[result->count++] = p->id.disk;
    end_probe(p);
}

static bool step_applies(const struct probe *p, enum step step)
{
    switch (step) {
    case STEP_VPD_SERIAL:
    case STEP_VPD_IDENTIFIERS:
    case STEP_VPD_LIMITS:
    case STEP_VPD_ROTATION:
    case STEP_VPD_PROVISIONING:
        return p->id.has_page[steps[step].vpd_page];
    case STEP_CAPACITY10:
        return p->id.capacity16_refused;
    case STEP_MODE6:
        return !p->id.have_mode;
    default:
        return true;
    }
}

static void go_on(struct probe *p)
{
    do
        p->step++;
    while (p->step < STEP_END && !step_applies(p, p->step));
    if (p->step == STEP_END)
        probe_is_complete(p);
    else
        send_step(p);
}

static void lun_reported(void *arg, uint8_t lun)
{
    struct probe *p = arg;
    struct hv_storvsc_scan *scan = p->storvsc->scan;
    struct hv_storvsc_address address = p->id.disk.lun.address;
    uint64_t *word = &scan->seen[address.path * TARGETS + address.target][lun / 64];

    if ((*word >> (lun % 64) & 1) || scan->found_count == HV_STORVSC_LUNS_MAX)
        return;
    *word |= UINT64_C(1) << (lun % 64);
    address.lun = lun;
    scan->found[scan->found_count++] = address;
}

static void report_answered(struct probe *p, int error, const uint8_t *data, size_t bytes)
{
    struct hv_storvsc_address address = p->id.disk.lun.address;

    if (!error)
        error = hv_storvsc_parse_report_luns(data, bytes, lun_reported, p);
    if (error == -ENODEV) {
        /* nobody at this path and target */
    } else if (error && address.path == 0 && address.target == 0) {
        for (uint8_t lun = 0; lun < LUNS_WITHOUT_REPORT; lun++)
            lun_reported(p, lun);
    } else if (error && error != -EINVAL && error != -EOPNOTSUPP) {
        p->storvsc->scan->report_failed[address.path * TARGETS + address.target] = true;
    }
    end_probe(p);
}

/* False: the probe is over. */
static bool step_answered(struct probe *p, int error, const uint8_t *data, size_t bytes)
{
    struct hv_storvsc_identity *id = &p->id;

    switch (p->step) {
    case STEP_INQUIRY:
        if (!error)
            error = hv_storvsc_parse_inquiry(data, bytes, id);
        if (error && error != -ENODEV)
            keep_known(p->storvsc, id->disk.lun.address);
        return !error;
    case STEP_CAPACITY16:
        id->capacity16_refused = error == -EOPNOTSUPP || error == -EINVAL;
        if (!error)
            (void)hv_storvsc_parse_capacity16(data, bytes, id); /* else have_capacity stays false */
        break;
    case STEP_CAPACITY10:
        if (!error)
            (void)hv_storvsc_parse_capacity10(data, bytes, id); /* the same */
        break;
    case STEP_MODE10:
        if (!error)
            id->have_mode = hv_storvsc_parse_mode(data, bytes, 8, id) == 0;
        break;
    case STEP_MODE6:
        if (!error)
            id->have_mode = hv_storvsc_parse_mode(data, bytes, 4, id) == 0;
        break;
    case STEP_READY:
        break;
    default:
        if (!error)
            hv_storvsc_parse_vpd(steps[p->step].vpd_page, data, bytes, id);
        break;
    }
    return error != -ENODEV;
}

static void probe_done(struct hv_storvsc_request *request, const struct hv_storvsc_result *result)
{
    struct probe *p = request->arg;
    struct hv_storvsc *s = p->storvsc;
    uint8_t copy[HV_PAGE_BYTES];
    size_t bytes = hv_min_u32(result->bytes, steps[p->step].data_bytes);
    int error = result->error;

    if (s->queues[0]->status) /* closing or dead: the scan is given up as a whole */
        return;
    /* "Overrun" with good status is how a host says that it had less than was asked for. */
    if (result->srb_status == HV_SRB_DATA_OVERRUN && result->scsi_status == HV_SCSI_STATUS_GOOD)
        error = 0;
    memcpy(copy, p->answer, bytes); /* the host may go on writing there */
    if (p->step == STEP_REPORT_LUNS)
        report_answered(p, error, copy, bytes);
    else if (step_answered(p, error, copy, bytes))
        go_on(p);
    else
        end_probe(p);
    next_jobs(s);
}

/* ---- The scan ---- */

static void start_probe(struct probe *p, struct hv_storvsc_address address, enum step step)
{
    memset(&p->id, 0, sizeof(p->id));
    memset(p->id.has_page, true, sizeof(p->id.has_page));
    p->id.disk.lun.address = address;
    p->id.disk.lun.write_cache = true; /* until it says that it has none */
    p->step = step;
    p->busy = true;
    p->storvsc->scan->busy++;
    send_step(p);
}

static int by_address(const void *a, const void *b)
{
    const struct hv_storvsc_address *x = &((const struct hv_storvsc_disk *)a)->lun.address;
    const struct hv_storvsc_address *y = &((const struct hv_storvsc_disk *)b)->lun.address;
    int kx = x->path << 16 | x->target << 8 | x->lun;
    int ky = y->path << 16 | y->target << 8 | y->lun;

    return kx < ky ? -1 : kx > ky;
}

/* LUNs behind a target that could not be asked are not gone. */
static void keep_behind_failed(struct hv_storvsc *s)
{
    const struct hv_storvsc_table *known = hv_storvsc_queue_table(s->queues[0]);

    for (size_t i = 0; i < known->count; i++) {
        struct hv_storvsc_address a = known->disks[i].lun.address;

        if (s->scan->report_failed[a.path * TARGETS + a.target])
            keep_known(s, a);
    }
}

static void finish_scan(struct hv_storvsc *s)
{
    struct hv_storvsc_scan *scan = s->scan;

    keep_behind_failed(s);
    qsort(scan->result.disks, scan->result.count, sizeof(scan->result.disks[0]), by_address);
    scan->idle = true;
    if (hv_storvsc_table_publish(s, &scan->result, scan->tell))
        hv_storvsc_want_rescan(s); /* no memory for the news: later */
    scan->tell = true;
}

static void next_jobs(struct hv_storvsc *s)
{
    struct hv_storvsc_scan *scan = s->scan;

    for (uint32_t i = 0; i < HV_STORVSC_PROBES; i++) {
        struct probe *p = &scan->probes[i];

        if (p->busy)
            continue;
        if (scan->next_report < REPORTS) {
            struct hv_storvsc_address address = {
                .path = (uint8_t)(scan->next_report / TARGETS),
                .target = (uint8_t)(scan->next_report % TARGETS),
            };

            scan->next_report++;
            start_probe(p, address, STEP_REPORT_LUNS);
        } else if (scan->next_found < scan->found_count) {
            start_probe(p, scan->found[scan->next_found++], STEP_INQUIRY);
        }
    }
    if (!scan->busy && !scan->idle)
        finish_scan(s);
}

void hv_storvsc_scan_start(struct hv_storvsc *s)
{
    struct hv_storvsc_scan *scan = s->scan;

    if (!scan->idle)
        return;
    scan->idle = false;
    scan->next_report = 0;
    scan->found_count = scan->next_found = 0;
    scan->result.count = 0;
    memset(scan->seen, 0, sizeof(scan->seen));
    memset(scan->report_failed, 0, sizeof(scan->report_failed));
    next_jobs(s);
}

void hv_storvsc_scan_pump(struct hv_storvsc *s)
{
    struct hv_storvsc_scan *scan = s->scan;

    if (scan->idle)
        return;
    for (uint32_t i = 0; i < HV_STORVSC_PROBES; i++)
        if (scan->probes[i].busy && scan->probes[i].unsent)
            send_step(&scan->probes[i]);
}
