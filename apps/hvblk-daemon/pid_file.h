/* SPDX-License-Identifier: BSD-3-Clause */
/* --pid-file: locked while the daemon lives, so that a second one on the same file is refused. */
#ifndef HVBLK_PID_FILE_H
#define HVBLK_PID_FILE_H

/** The descriptor to keep, or a negative errno (-EBUSY: another process holds it). */
int pid_file_open(const char *path);
/** Write our number: the daemon is ready.  0 or a negative errno. */
int pid_file_write(int fd);
void pid_file_close(int fd, const char *path);

#endif
