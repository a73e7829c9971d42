/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * QEMU's one NBD server, as several runs of a VM share it.
 *
 * 1. It listens on a unix socket in run->export_folder that we made and passed on as a descriptor: QEMU needs no
 *    right to the path. The socket bears the name of the run that started the server, "PREFIX.nbd".
 * 2. No query tells whether a server runs, or whose it is. So each of our exports tells it in its ID,
 *    "PREFIX-ROLEINDEX.NUMBER": NUMBER is that of the run that started the server.
 * 3. A server is ours when the socket that we made still accepts connections. Another program's is left alone.
 *    The folder is of this VM alone, so that a server that a crash has left without exports is found by its socket.
 * 4. The last run stops it: when no NBD export is left, whosever.
 * 5. Nothing that drains is sent to QEMU while an export of ours still shuts down: its reader has replies unread, and
 *    QEMU's main loop, the guest with it, would wait for that reader.
 *
 * All functions are for worker threads, with the graph lock held.
 */
#pragma once

#include "qmp-backend-private.h"

/* The number of the run that started the server of the export @id, which is one of ours; NULL when @id tells none.
 * (transfer full) */
char *bk_qmp_nbd_number (const char *id);
/* ID of an export of @run; (transfer full). */
char *bk_qmp_nbd_export_id (const BkRun *run, const char *role, const BkRunDisk *disk);

/* Finds our server or starts one, and notes it in run->nbd_server. CONFLICT, INVALID. */
gboolean bk_qmp_nbd_ensure (BkQmpBackend *self, BkRun *run, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Ends the exports of @run, of every kind, and then the server if nobody uses it any more. UNREACHABLE when an export
 * does not go. */
gboolean bk_qmp_nbd_end (BkQmpBackend *self, const BkRun *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;
