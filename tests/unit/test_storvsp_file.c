/* SPDX-License-Identifier: BSD-3-Clause */
/* The controller on a disk that completes later, and a kernel that tells so later still. */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "storvsp_rig.h"
#include "suite.h"

#define IMAGE "test_storvsp_file.img"

static int late_reads;   /* reads of an eventfd that find nothing yet */
static int late_fd = -1; /* which one it was */

ssize_t read(int fd, void *to, size_t bytes)
{
    ssize_t (*next)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");

    if (late_reads && bytes == 8) {
        late_reads--;
        late_fd = fd;
        errno = EAGAIN;
        return -1;
    }
    return next(fd, to, bytes);
}

static struct hv_disk *file_disk(void)
{
    struct hv_disk_opts opts = HV_DISK_OPTS_INIT;
    char why[HV_DISK_WHY_BYTES] = "";
    struct hv_disk *disk = NULL;

    (void)unlink(IMAGE);
    opts.path = IMAGE;
    opts.bytes = RIG_BLOCKS * 512u;
    if (hv_disk_create(&opts, why, &disk))
        CU_FAIL_FATAL("no image");
    return disk;
}

/*
 * The kernel shows a completion in the ring first and counts it in the eventfd afterwards.  A worker that has taken the
 * completion by then must still empty the descriptor, or the descriptor wakes it for ever.
 */
static void test_late_event(void)
{
    struct rig_srb srb = rig_rw(false, 0, 0, 8);
    struct storvsp_rig rig;
    struct rig_reply reply = {0};

    rig_init(&rig, NULL, 0, 0);
    rig.disks[0] = file_disk();
    if (!hv_disk_is_direct(rig.disks[0])) {
        fprintf(stderr, "(no O_DIRECT here: late events are not tested)\n");
    } else {
        struct pollfd event = {.events = POLLIN};

        CU_ASSERT_EQUAL(hv_storvsp_attach(rig.storvsp, rig.disks[0], 0), 0);
        rig_handshake(&rig, HV_VSTOR_VERSION_6_2);
        CU_ASSERT(loop_settle(rig.loop));
        late_reads = 1;
        rig_send_srb(&rig, 0, 5, &srb);
        while (!rig_receive(&rig, 0, &reply))
            ; /* the disk ends this */
        CU_ASSERT_EQUAL(reply.packet.srb.srb_status, HV_SRB_SUCCESS);
        for (int n = 0; late_reads && n < 10; n++)
            (void)loop_poll(rig.loop); /* idle: now it looks at the descriptor */
        CU_ASSERT_EQUAL_FATAL(late_reads, 0);
        event.fd = late_fd;
        CU_ASSERT_EQUAL(poll(&event, 1, -1), 1); /* there it is: the worker wakes ... */
        CU_ASSERT(loop_settle(rig.loop));
        CU_ASSERT_EQUAL(poll(&event, 1, 0), 0); /* ... and sleeps again */
    }
    rig_fini(&rig);
    (void)unlink(IMAGE);
}

int main(int argc, char **argv)
{
    static const struct hv_test_case cases[] = {
        {"late event", test_late_event},
    };

    return hv_test_main("storvsp.file", cases, HV_TEST_COUNT(cases), argc, argv);
}
