/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A server for one disk, as a child process. The socket is made here and handed over as systemd hands one over
 * (LISTEN_FDS), which nbdkit and qemu-nbd both understand: so a port that is taken is told before anything is
 * started, and port 0 is known at once. It ends with the daemon, whatever ends the daemon. Main thread only.
 */
#pragma once

#include "bk-error.h"

#include <stdbool.h>

typedef struct BkServeProcess BkServeProcess;

/* It has ended by itself after it was ready; @reason is what it said last. The process may be freed inside the call. */
typedef void (*BkServeEnded) (BkServeProcess *process, const char *reason, gpointer user_data);

/* @listen: NULL or "unix" = the unix socket @socket_path, which must not exist; "tcp:HOST:PORT" of the loopback, port 0 = any.
 * INVALID for the address, CONFLICT when it is taken, FAILED when @argv[0] is not installed. (transfer full) */
BkServeProcess *bk_serve_process_start (const char *listen, const char *socket_path, const char *const *argv, BkServeEnded ended,
                                        gpointer user_data, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Finishes when it greets a client. FAILED with its own words when it ends, or does not greet within 20 s; CANCELLED when it
 * was freed meanwhile. */
void bk_serve_process_wait_async (BkServeProcess *process, GAsyncReadyCallback callback, gpointer user_data);
gboolean bk_serve_process_wait_finish (GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* For nbdinfo, nbdcopy and qemu-img. */
const char *bk_serve_process_uri (BkServeProcess *process);
/* Ends it, with its clients, and removes the socket. A wait that is under way finishes later, with CANCELLED. */
void bk_serve_process_free (BkServeProcess *process);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkServeProcess, bk_serve_process_free)
