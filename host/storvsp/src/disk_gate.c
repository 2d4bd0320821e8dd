/* SPDX-License-Identifier: BSD-3-Clause */
/* The gate word and how one command gets a disk for itself: disk_impl.h tells the whole of it. */
#include "disk_impl.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

int hv_gate_init(struct hv_disk *disk)
{
    if (pthread_mutex_init(&disk->lock, NULL))
        return -ENOMEM;
    if (pthread_mutex_init(&disk->queues_lock, NULL)) {
        pthread_mutex_destroy(&disk->lock);
        return -ENOMEM;
    }
    if (pthread_mutex_init(&disk->exclusive_lock, NULL)) {
        pthread_mutex_destroy(&disk->queues_lock);
        pthread_mutex_destroy(&disk->lock);
        return -ENOMEM;
    }
    disk->has_membarrier =
        syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    return 0;
}

void hv_gate_fini(struct hv_disk *disk)
{
    pthread_mutex_destroy(&disk->exclusive_lock);
    pthread_mutex_destroy(&disk->queues_lock);
    pthread_mutex_destroy(&disk->lock);
}

void hv_gate_set(struct hv_disk *disk, uint32_t bits)
{
    atomic_fetch_or(&disk->gate, bits);
}

void hv_gate_clear(struct hv_disk *disk, uint32_t bits)
{
    atomic_fetch_and(&disk->gate, ~bits);
}

uint32_t hv_gate_load(const struct hv_disk *disk)
{
    return atomic_load_explicit(&disk->gate, memory_order_acquire);
}

/*
 * The data path's half of the barrier: the count must be visible before the gate is looked at.  Who wants to be alone
 * makes that so with membarrier(2) in exclude(); only a kernel without it makes us pay here.
 */
static uint32_t count_media(struct hv_disk_queue *queue, uint32_t media)
{
    struct hv_disk *disk = queue->disk;

    if (!disk->has_membarrier) {
        atomic_store(&queue->media, media);
        return atomic_load(&disk->gate);
    }
    atomic_store_explicit(&queue->media, media, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    return atomic_load_explicit(&disk->gate, memory_order_acquire);
}

static void barrier_everywhere(const struct hv_disk *disk)
{
    if (disk->has_membarrier)
        (void)syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

void hv_gate_kick(struct hv_disk_queue *queue)
{
    const uint64_t kick = 1ull << 32;

    if (queue->fd < 0)
        return;
    atomic_fetch_add(&queue->kicks_sent, 1);
    while (write(queue->fd, &kick, sizeof(kick)) < 0 && errno == EINTR)
        ;
}

static void park(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    hv_command_list_push(&queue->parked, command);
    atomic_store(&queue->has_parked, true);
    /* Who was alone may have finished before it could see that. */
    if (!(atomic_load(&queue->disk->gate) & HV_GATE_EXCLUSIVE))
        hv_gate_kick(queue);
}

bool hv_gate_enter(struct hv_disk_queue *queue, struct hv_scsi_command *command, uint32_t *ret_gate)
{
    uint32_t media = atomic_load_explicit(&queue->media, memory_order_relaxed);
    uint32_t gate = count_media(queue, media + 1);

    while (__builtin_expect(gate & HV_GATE_EXCLUSIVE, 0)) {
        hv_gate_leave(queue);
        if (!queue->at_once) {
            park(queue, command);
            return false;
        }
        /* Bounded: who is alone holds the mutex for one command of a store that completes at once. */
        pthread_mutex_lock(&queue->disk->exclusive_lock);
        pthread_mutex_unlock(&queue->disk->exclusive_lock);
        gate = count_media(queue, media + 1);
    }
    command->impl.media = true;
    *ret_gate = gate;
    return true;
}

void hv_gate_leave(struct hv_disk_queue *queue)
{
    struct hv_disk *disk = queue->disk;
    uint32_t media = atomic_load_explicit(&queue->media, memory_order_relaxed) - 1;

    if (__builtin_expect(!(count_media(queue, media) & HV_GATE_EXCLUSIVE), 1) || media ||
        queue->at_once)
        return;
    pthread_mutex_lock(&disk->lock); /* keeps the owner from finishing and going away */
    if (disk->exclusive_owner)
        hv_gate_kick(disk->exclusive_owner);
    pthread_mutex_unlock(&disk->lock);
}

static void exclude_at_once(struct hv_disk_queue *queue)
{
    struct hv_disk *disk = queue->disk;

    pthread_mutex_lock(&disk->exclusive_lock);
    pthread_mutex_lock(&disk->queues_lock);
    hv_gate_set(disk, HV_GATE_EXCLUSIVE);
    barrier_everywhere(disk);
    /* Bounded: each of them finishes at most the command it is in. */
    for (struct hv_disk_queue *q = disk->queues; q; q = q->next)
        while (atomic_load(&q->media))
            sched_yield();
    pthread_mutex_unlock(&disk->queues_lock);
}

bool hv_gate_exclude(struct hv_disk_queue *queue, struct hv_scsi_command *command)
{
    struct hv_disk *disk = queue->disk;
    bool mine = false;

    command->impl.exclusive = true;
    if (queue->at_once) {
        exclude_at_once(queue);
        return true;
    }
    pthread_mutex_lock(&disk->lock);
    if (!disk->exclusive_owner) {
        disk->exclusive_owner = queue;
        hv_gate_set(disk, HV_GATE_EXCLUSIVE);
        mine = true;
    }
    pthread_mutex_unlock(&disk->lock);
    if (!mine) {
        command->impl.exclusive = false;
        park(queue, command);
        return false;
    }
    barrier_everywhere(disk);
    if (hv_gate_is_alone(queue))
        return true;
    queue->exclusive_waiting = command;
    return false;
}

bool hv_gate_is_alone(struct hv_disk_queue *queue)
{
    struct hv_disk *disk = queue->disk;
    bool alone = true;

    pthread_mutex_lock(&disk->queues_lock);
    for (struct hv_disk_queue *q = disk->queues; q && alone; q = q->next)
        alone = !atomic_load(&q->media);
    pthread_mutex_unlock(&disk->queues_lock);
    return alone;
}

void hv_gate_include(struct hv_disk_queue *queue)
{
    struct hv_disk *disk = queue->disk;

    if (queue->at_once) {
        hv_gate_clear(disk, HV_GATE_EXCLUSIVE);
        pthread_mutex_unlock(&disk->exclusive_lock);
        return;
    }
    pthread_mutex_lock(&disk->lock);
    disk->exclusive_owner = NULL;
    hv_gate_clear(disk, HV_GATE_EXCLUSIVE);
    pthread_mutex_unlock(&disk->lock);
    pthread_mutex_lock(&disk->queues_lock);
    for (struct hv_disk_queue *q = disk->queues; q; q = q->next)
        if (atomic_load(&q->has_parked))
            hv_gate_kick(q);
    pthread_mutex_unlock(&disk->queues_lock);
}
