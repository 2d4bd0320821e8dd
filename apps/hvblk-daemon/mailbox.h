/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages from any thread to one thread: a locked list, a flag that is cheap to look at, and a descriptor to sleep on. */
#ifndef HVBLK_MAILBOX_H
#define HVBLK_MAILBOX_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

struct mail {
    struct mail *next;
    unsigned kind;
    int fd;
    void *data; /* meaning and owner depend on the kind */
    void *data2;
    sem_t *done; /* posted by the receiver's mailbox_answer(); NULL = nobody waits */
};

struct mailbox {
    pthread_mutex_t lock;
    struct mail *first, **last;
    atomic_bool waiting;
    int fd; /* eventfd */
};

/** 0 or a negative errno. */
int mailbox_init(struct mailbox *box);
/** Messages left are freed, their data is not. */
void mailbox_fini(struct mailbox *box);

/** Send a copy; -ENOMEM when that fails. */
int mailbox_post(struct mailbox *box, const struct mail *mail);
/** Send and wait until the receiver has answered.  The message lives on the caller's stack. */
void mailbox_call(struct mailbox *box, struct mail *mail);

static inline bool mailbox_waiting(const struct mailbox *box)
{
    return atomic_load_explicit(&box->waiting, memory_order_acquire);
}
/** Next message or NULL; the receiver ends it with mailbox_answer(). */
struct mail *mailbox_take(struct mailbox *box);
void mailbox_answer(struct mail *mail);

#endif
