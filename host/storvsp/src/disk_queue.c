/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues: one worker thread's way to a disk.  Starts commands, runs their steps, keeps those that wait.
 *
 * A command is in exactly one place: running on the stack, with the store, in `waiting`, in `parked` or in
 * `exclusive_waiting`.  done() runs when it is in none of them.
 */
#include "disk_impl.h"
#include "scsi_command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define EVENTS_BEFORE_READ (1u << 20) /* the eventfd's low half must not run over */

void hv_command_list_init(struct hv_command_list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

void hv_command_list_push(struct hv_command_list *list, struct hv_scsi_command *command)
{
    command->impl.next = NULL;
    *list->last = command;
    list->last = &command->impl.next;
}

struct hv_scsi_command *hv_command_list_pop(struct hv_command_list *list)
{
    struct hv_scsi_command *command = list->first;

    if (command) {
        list->first = command->impl.next;
        if (!list->first)
            list->last = &list->first;
    }
    return command;
}

uint8_t *hv_disk_get_bounce(struct hv_disk_queue *queue)
{
    if (!queue->bounce_free_count)
        return NULL;
    return queue->bounce +
           (size_t)queue->bounce_free[--queue->bounce_free_count] * HV_DISK_BOUNCE_BYTES;
}

void hv_disk_put_bounce(struct hv_disk_queue *queue, uint8_t *buffer)
{
    queue->bounce_free[queue->bounce_free_count++] =
        (uint32_t)((size_t)(buffer - queue->bounce) / HV_DISK_BOUNCE_BYTES);
}

void hv_disk_wait(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    hv_command_list_push(&queue->waiting, command);
}

static void finish(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    if (command->impl.media)
        hv_gate_leave(queue);
    if (__builtin_expect(command->impl.exclusive, 0))
        hv_gate_include(queue);
    if (command->impl.buffer)
        hv_disk_put_bounce(queue, command->impl.buffer);
    queue->in_flight--;
    queue->completed++;
    command->done(command);
}

void hv_disk_continue(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    for (;;) {
        enum hv_step next = command->impl.step(queue, command);

        if (next == HV_STEP_DONE) {
            finish(queue, command);
            return;
        }
        if (next == HV_STEP_WAIT) {
            command->impl.io.op = HV_STORE_NOTHING;
            hv_disk_wait(queue, command);
            return;
        }
        if (!queue->ops->start(queue, command))
            return;
    }
}

static bool is_known(struct hv_disk_queue *queue, uint64_t initiator, uint32_t gate)
{
    uint32_t generation = gate & ~(HV_GATE_GENERATION - 1);

    if (__builtin_expect(generation != queue->calm_gate, 0)) {
        memset(queue->known, 0, sizeof(queue->known));
        queue->calm_gate = generation;
    }
    return gate == generation && queue->known[initiator % HV_DISK_KNOWN] == initiator + 1;
}

static void work(struct hv_disk_queue *queue, struct hv_scsi_command *command, bool admitted)
{
    if (admitted && (command->impl.operation->flags & HV_SCSI_MODIFIES) && queue->disk->read_only) {
        hv_scsi_fail(command, HV_SENSE_DATA_PROTECT, HV_ASC_WRITE_PROTECTED);
        admitted = false;
    }
    if (admitted)
        hv_disk_continue(queue, command);
    else
        finish(queue, command);
}

/* Everything before the command's own work; again from the beginning when it was parked. */
static void begin(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    const struct hv_scsi_operation *operation = command->impl.operation;
    uint32_t gate = 0;

    if (operation->flags & HV_SCSI_MEDIA) {
        if (!hv_gate_enter(queue, command, &gate))
            return;
    } else {
        if (hv_scsi_runs_alone(command) && !hv_gate_exclude(queue, command))
            return;
        gate = hv_gate_load(queue->disk) & ~HV_GATE_EXCLUSIVE;
    }
    work(queue, command,
         is_known(queue, command->initiator, gate) || hv_scsi_admit(queue, command));
}

void hv_disk_execute(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    command->srb_status = HV_SRB_SUCCESS;
    command->scsi_status = HV_SCSI_STATUS_GOOD;
    command->sense_bytes = 0;
    command->transferred_bytes = 0;
    command->impl.queue = queue;
    command->impl.next = NULL;
    command->impl.operation = hv_scsi_find(command->cdb, command->cdb_bytes);
    command->impl.step = command->impl.operation->start;
    command->impl.offset = command->impl.length = command->impl.progress = 0;
    command->impl.buffer = NULL;
    command->impl.state = 0;
    command->impl.io = (struct hv_store_io){0};
    command->impl.media = command->impl.exclusive = command->impl.durable = false;
    queue->in_flight++;
    begin(queue, command);
}

void hv_disk_queue_flush(struct hv_disk_queue *queue)
{
    if (queue->ops->flush)
        queue->ops->flush(queue);
}

/* Commands that lacked a buffer or a place, oldest first; each may have to wait again. */
static void retry_waiting(struct hv_disk_queue *queue)
{
    struct hv_command_list old = queue->waiting;
    struct hv_scsi_command *command;

    if (!old.first)
        return;
    hv_command_list_init(&queue->waiting);
    while ((command = hv_command_list_pop(&old)) != NULL) {
        if (command->impl.io.op == HV_STORE_NOTHING || queue->ops->start(queue, command))
            hv_disk_continue(queue, command);
    }
}

static void retry_parked(struct hv_disk_queue *queue)
{
    struct hv_command_list old = queue->parked;
    struct hv_scsi_command *command;

    if (!old.first || (hv_gate_load(queue->disk) & HV_GATE_EXCLUSIVE))
        return;
    atomic_store(&queue->has_parked, false);
    hv_command_list_init(&queue->parked);
    while ((command = hv_command_list_pop(&old)) != NULL)
        begin(queue, command);
}

static void retry_exclusive(struct hv_disk_queue *queue)
{
    struct hv_scsi_command *command = queue->exclusive_waiting;

    if (!command || !hv_gate_is_alone(queue))
        return;
    queue->exclusive_waiting = NULL;
    work(queue, command, hv_scsi_admit(queue, command));
}

bool hv_disk_queue_is_settled(const struct hv_disk_queue *queue)
{
    return queue->events_seen == queue->events_read &&
           atomic_load_explicit(&queue->kicks_sent, memory_order_relaxed) == queue->kicks_read;
}

/*
 * The eventfd counts what we found already; read it, so that it sleeps again.  It may lag behind the ring.  True: what
 * was read may stand for something new, look once more.
 */
static bool read_events(struct hv_disk_queue *queue)
{
    uint64_t value;

    if (hv_disk_queue_is_settled(queue))
        return false;
    if (read(queue->fd, &value, sizeof(value)) != (ssize_t)sizeof(value))
        return false; /* not written yet: it will ring, and the poll after that reads it */
    queue->events_read += (uint32_t)value;
    queue->kicks_read += (uint32_t)(value >> 32);
    return true;
}

static void poll_once(struct hv_disk_queue *queue)
{
    queue->ops->reap(queue);
    retry_exclusive(queue);
    retry_parked(queue);
    retry_waiting(queue);
    queue->ops->flush(queue); /* the next steps of what came back */
}

int hv_disk_queue_poll(struct hv_disk_queue *queue)
{
    uint32_t before = queue->completed;

    if (queue->at_once)
        return 0;
    poll_once(queue);
    if ((queue->completed == before ||
         queue->events_seen - queue->events_read >= EVENTS_BEFORE_READ) &&
        read_events(queue))
        poll_once(queue);
    return (int)(queue->completed - before);
}

int hv_disk_queue_fd(const struct hv_disk_queue *queue)
{
    return queue->fd;
}

uint32_t hv_disk_queue_in_flight(const struct hv_disk_queue *queue)
{
    return queue->in_flight;
}

static int map_bounce(struct hv_disk_queue *queue)
{
    size_t bytes;
    void *at;

    /* A store that completes at once has one command at a time. */
    queue->bounce_count = queue->at_once ? 1 : HV_DISK_BOUNCE_COUNT;
    bytes = (size_t)queue->bounce_count * HV_DISK_BOUNCE_BYTES;
    /* Touched only as far as it is used. */
    at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
              0);
    if (at == MAP_FAILED)
        return -ENOMEM;
    queue->bounce = at;
    for (uint32_t i = 0; i < queue->bounce_count; i++)
        queue->bounce_free[i] = queue->bounce_count - 1 - i;
    queue->bounce_free_count = queue->bounce_count;
    return 0;
}

int hv_disk_queue_create(struct hv_disk *disk, uint32_t depth, struct hv_disk_queue **ret_queue)
{
    struct hv_disk_queue *queue;
    int err;

    if (!depth || depth > HV_DISK_QUEUE_DEPTH_MAX)
        return -EINVAL;
    queue = aligned_alloc(64, sizeof(*queue));
    if (!queue)
        return -ENOMEM;
    memset(queue, 0, sizeof(*queue));
    queue->disk = disk;
    queue->ops = disk->ops;
    queue->depth = depth;
    queue->at_once = !disk->ops->reap;
    queue->fd = -1;
    hv_command_list_init(&queue->waiting);
    hv_command_list_init(&queue->parked);
    pthread_mutex_lock(&disk->queues_lock);
    queue->next = disk->queues;
    disk->queues = queue;
    pthread_mutex_unlock(&disk->queues_lock);
    err = map_bounce(queue);
    if (!err && !queue->at_once) {
        queue->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        err = queue->fd < 0 ? -errno : disk->ops->queue_init(queue);
    }
    if (err) {
        hv_disk_queue_destroy(queue);
        return err;
    }
    *ret_queue = queue;
    return 0;
}

void hv_disk_queue_destroy(struct hv_disk_queue *queue)
{
    struct hv_disk *disk;

    if (!queue)
        return;
    disk = queue->disk;
    pthread_mutex_lock(&disk->queues_lock);
    for (struct hv_disk_queue **at = &disk->queues; *at; at = &(*at)->next)
        if (*at == queue) {
            *at = queue->next;
            break;
        }
    pthread_mutex_unlock(&disk->queues_lock);
    if (queue->ops->queue_fini)
        queue->ops->queue_fini(queue);
    if (queue->fd >= 0)
        (void)close(queue->fd);
    if (queue->bounce)
        (void)munmap(queue->bounce, (size_t)queue->bounce_count * HV_DISK_BOUNCE_BYTES);
    free(queue);
}
