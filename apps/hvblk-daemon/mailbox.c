/* SPDX-License-Identifier: BSD-3-Clause */
#include "mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *box)
{
    *box = (struct mailbox){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (box->fd < 0)
        return -errno;
    (void)pthread_mutex_init(&box->lock, NULL); /* cannot fail without attributes */
    box->last = &box->first;
    return 0;
}

void mailbox_fini(struct mailbox *box)
{
    struct mail *mail;

    if (!box->last)
        return;
    while ((mail = mailbox_take(box)))
        mailbox_answer(mail);
    (void)pthread_mutex_destroy(&box->lock);
    (void)close(box->fd);
    *box = (struct mailbox){.fd = -1};
}

static void append(struct mailbox *box, struct mail *mail)
{
    uint64_t one = 1;
    bool was;

    mail->next = NULL;
    (void)pthread_mutex_lock(&box->lock);
    *box->last = mail;
    box->last = &mail->next;
    was = atomic_exchange_explicit(&box->waiting, true, memory_order_release);
    (void)pthread_mutex_unlock(&box->lock);
    if (!was)
        (void)!write(box->fd, &one, sizeof(one)); /* can only fail when it is readable anyway */
}

int mailbox_post(struct mailbox *box, const struct mail *mail)
{
    struct mail *copy = malloc(sizeof(*copy));

    if (!copy)
        return -ENOMEM;
    *copy = *mail;
    copy->done = NULL;
    append(box, copy);
    return 0;
}

void mailbox_call(struct mailbox *box, struct mail *mail)
{
    sem_t done;

    (void)sem_init(&done, 0, 0);
    mail->done = &done;
    append(box, mail);
    while (sem_wait(&done))
        ; /* interrupted by a signal */
    (void)sem_destroy(&done);
}

struct mail *mailbox_take(struct mailbox *box)
{
    uint64_t count;
    struct mail *mail;

    (void)pthread_mutex_lock(&box->lock);
    mail = box->first;
    if (mail) {
        box->first = mail->next;
        if (!box->first)
            box->last = &box->first;
    } else {
        atomic_store_explicit(&box->waiting, false, memory_order_relaxed);
        (void)!read(box->fd, &count, sizeof(count)); /* non-blocking; empty is fine */
    }
    (void)pthread_mutex_unlock(&box->lock);
    return mail;
}

void mailbox_answer(struct mail *mail)
{
    if (mail->done)
        (void)sem_post(mail->done);
    else
        free(mail);
}
