/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands over a Unix socket: one JSON object a line in, one a line out, in order.
 *
 *   {"command":"status"}                            {"ok":true,...}
 *   {"command":"attach","disk":"PATH,lun=3"}        {"ok":true,"lun":3}
 *   {"command":"nonsense"}                          {"ok":false,"error":"..."}
 *
 * What takes time (detach, rescind) is answered when it is done; until then the next command of that client waits.
 */
#ifndef HV_HOST_CONTROL_H
#define HV_HOST_CONTROL_H

#include "controller.h"
#include "guests.h"
#include "nics.h"

struct control;

/** `stop` is set to true by the command "shutdown".  Returns 0 or a negative errno, which is reported. */
int control_create(const char *path, struct controller *controller, struct nics *nics,
                   struct guests *guests, bool *stop, struct control **ret_control);
/** Also removes the socket.  Nothing of the controller's may be on its way.  NULL is fine. */
void control_destroy(struct control *control);
/** Readable when control_poll() has work. */
int control_fd(const struct control *control);
void control_poll(struct control *control);

#endif
