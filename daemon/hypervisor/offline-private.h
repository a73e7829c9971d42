/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The backend of a VM that may be shut off: offline-backend.c (which of the two it is), offline-images.c (the images, and
 * who reads them), offline-run.c (a run).
 *
 *       running                                  shut off
 *   job --> offline backend --> VM's backend     job --> offline backend --> qemu-storage-daemon of ours, one a run
 *                                                                              |
 *                                                                            images
 *
 * A storage daemon speaks QMP with the same words as QEMU, so that what copies, exports and counts is the code of the QMP
 * backend (qmp-*.c), on an object of its own for each storage daemon: a session.
 *
 * A VM that starts meanwhile wins. Images are read with QEMU's permissions all shared, so that we hold no lock that could
 * refuse anybody anything. Only bitmaps have to be written: the new checkpoint's, before the point in time, and what gives
 * the dirty bits back when the job fails. For these some milliseconds the image is open for writing, under QEMU's write lock.
 * QEMU refuses to start on an image whose lock it does not get; so that moment is one batch of three commands (open, one
 * transaction, close), and as much as possible is found out before it. It cannot be done without: a bitmap begins to record
 * only with the next QEMU if it is in the image before that starts.
 */
#pragma once

#include "qmp-backend-private.h"

typedef struct {
  BkBackend base;
  BkBackend *vm;
  char *folder;
  BkRecordDisks record;
  gpointer record_data;
  /* Held while an image is written to, and while one is looked at: what is half written is not read. */
  GMutex images;

  GMutex lock; /* of the members below */
  json_object *recorded;
  GHashTable *sessions; /* name to BkQmpBackend */
  unsigned writings;    /* sessions so far that only write bitmaps */
} BkOfflineBackend;

/* --- offline-images.c; worker threads --- */

/* A name for one that only writes bitmaps: no other has it now, and it is short, as it is part of a socket's path. (transfer full) */
char *bk_offline_writing_name (BkOfflineBackend *self);
/* Starts a storage daemon for a new session @name. (transfer none): until it is ended */
BkQmpBackend *bk_offline_session_start (BkOfflineBackend *self, const char *name, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The session @name, also of an earlier daemon. FAILED when its storage daemon has ended. */
BkQmpBackend *bk_offline_session (BkOfflineBackend *self, const char *name, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Ends it, and its storage daemon; @cleanly: that may close what it writes. Does nothing when there is none. */
void bk_offline_session_end (BkOfflineBackend *self, const char *name, bool cleanly);
/* The daemon ends, or the VM is removed: nobody waits for a look that is under way. Main thread. */
void bk_offline_end_look (BkOfflineBackend *self);
/* Lets go of all sessions and leaves the storage daemons to the next daemon. Main thread. */
void bk_offline_sessions_leave (BkOfflineBackend *self);

/* The disks recorded, with what is in their images now. @why: what the VM's own backend has said, for messages. UNREACHABLE
 * when nothing is recorded, or an image is being written to: then it is not shut off. */
BkVmState *bk_offline_look (BkOfflineBackend *self, const GError *why, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Writes bitmaps into the image @path: @actions (transfer full) on node @node. CONFLICT when it is in use. */
gboolean bk_offline_write (BkOfflineBackend *self, BkQmpBackend *session, const char *node, const char *format, const char *path, json_object *actions,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Opens it to be read, as @node. */
gboolean bk_offline_open (BkQmpBackend *session, const char *node, const char *format, const char *path, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- offline-run.c: as in backend.h, for runs with @offline --- */
gboolean bk_offline_prepare (BkOfflineBackend *self, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_offline_snapshot (BkOfflineBackend *self, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_offline_start (BkOfflineBackend *self, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_offline_wait (BkOfflineBackend *self, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable, GError **error);
gboolean bk_offline_pause (BkOfflineBackend *self, BkRun *run, bool pause, GError **error);
gboolean bk_offline_set_speed (BkOfflineBackend *self, BkRun *run, uint64_t speed, GError **error);
gboolean bk_offline_close (BkOfflineBackend *self, BkRun *run, GError **error);
gboolean bk_offline_export (BkOfflineBackend *self, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_offline_check_frozen (BkOfflineBackend *self, BkRun *run, GError **error);
gboolean bk_offline_release (BkOfflineBackend *self, BkRun *run, GError **error);
gboolean bk_offline_checkpoint_create (BkOfflineBackend *self, BkRun *run, GError **error);

/* On the images, whatever the run was made on. */
gboolean bk_offline_rollback (BkOfflineBackend *self, BkRun *run, bool all, GError **error);
gboolean bk_offline_checkpoint_delete (BkOfflineBackend *self, const char *disk, const char *bitmap, const char *parent, bool newest, bool *merged, GError **error);
