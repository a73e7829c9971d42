/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The interface to a hypervisor: what a backup job asks of a VM. A backend fills a BkBackendOps; callers use
 * the bk_backend_*() wrappers, which check order and arguments for all of them.
 *
 * Threads: connect/disconnect/state on the main thread. Everything else blocks and is for worker threads; a
 * backend serialises what must not overlap inside one VM by itself. Every function may fail with UNREACHABLE
 * (the VM is gone or does not answer) and CANCELLED; other codes are named.
 *
 * Order for one run, and what undoes it:
 *
 *   inspect                      nothing to undo
 *   prepare                      release, rollback
 *   snapshot  the point in time  release, rollback
 *   start, wait ...              release, rollback
 *   close     targets complete   release, rollback
 *   export, check_frozen ...     release, rollback         (mode pull, instead of start, wait and close)
 *   release   VM as before       (rollback of the checkpoint bitmaps of failed disks)
 *
 * release and rollback look at what is there, not at what was done: they do nothing when there is nothing to
 * undo, may be repeated, and serve success, failure, cancel and recovery after a crash alike.
 */
#pragma once

#include "disk.h"
#include "run.h"

typedef struct BkBackend BkBackend;

/* What inspect finds. */
typedef struct {
  char *status;  /* running, paused, ... */
  char *version; /* of the hypervisor */
  char *process; /* its own, as by bk_pid_identity(); NULL = not known */
  GPtrArray *disks; /* BkDisk */
  bool offline;       /* it is shut off, and these are the disks that it had when it was seen last */
  int64_t recorded_at; /* offline: when that was */
  bool snapshot_push; /* the copy-before-write way is possible */
  bool pull;          /* and exports of it are; see also no_pull of each disk */
  char *no_pull;      /* why not, in words; NULL else */
  char *no_snapshot_push; /* likewise; NULL: the hypervisor is too old */
  bool one_bitmap_name; /* the bitmaps of a checkpoint have one name on all disks, and must have */
  char *obstacle;     /* why no backup is possible at all now, in words; NULL else */
  char *domain;       /* name that the hypervisor's manager has for it now; NULL = there is none */
} BkVmState;
void bk_vm_state_free (BkVmState *state);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkVmState, bk_vm_state_free)

/* What belongs to a VM beside its disks: "domain.xml" (with secrets), "nvram", "tpm". */
typedef struct {
  char *name;
  GBytes *content;
} BkVmPart;
void bk_vm_part_free (BkVmPart *part);

typedef enum { BK_LINK_CONNECTING, BK_LINK_READY, BK_LINK_BUSY, BK_LINK_DOWN } BkLink;

/* Main thread: the link to the VM changed, or an event of it was seen (NULL: none). */
typedef void (*BkBackendNotify) (BkBackend *backend, BkLink link, const char *event, gpointer user_data);

typedef struct {
  const char *name; /* "qmp", "libvirt" */
  bool one_job;     /* of all disks of a VM: a second one waits */
  void (*connect) (BkBackend *backend);
  void (*disconnect) (BkBackend *backend);
  void (*free) (BkBackend *backend);
  BkLink (*link) (BkBackend *backend, char **reason, char **version);
  void (*recall) (BkBackend *backend, GPtrArray *checkpoints); /* may be NULL */
  bool (*is_off) (BkBackend *backend); /* NULL: it can never tell */
  BkVmState *(*inspect) (BkBackend *backend, GCancellable *cancellable, GError **error);
  GPtrArray *(*describe) (BkBackend *backend, GError **error); /* may be NULL */
  gboolean (*try_scratch) (BkBackend *backend, const char *folder, bool *tried, GError **error); /* may be NULL */
  gboolean (*prepare) (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
  gboolean (*snapshot) (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
  gboolean (*start) (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
  gboolean (*wait) (BkBackend *backend, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable, GError **error);
  gboolean (*pause) (BkBackend *backend, BkRun *run, bool pause, GError **error);
  gboolean (*set_speed) (BkBackend *backend, BkRun *run, uint64_t speed, GError **error);
  gboolean (*close) (BkBackend *backend, BkRun *run, GError **error);
  gboolean (*export) (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
  gboolean (*check_frozen) (BkBackend *backend, BkRun *run, GError **error);
  gboolean (*release) (BkBackend *backend, BkRun *run, GError **error);
  gboolean (*rollback) (BkBackend *backend, BkRun *run, bool all, GError **error);
  gboolean (*checkpoint_create) (BkBackend *backend, BkRun *run, GError **error);
  gboolean (*checkpoint_delete) (BkBackend *backend, const char *disk, const char *bitmap, const char *parent, bool newest, bool *merged, GError **error);
} BkBackendOps;

struct BkBackend {
  const BkBackendOps *ops;
  BkBackendNotify notify;
  gpointer notify_data;
};

void bk_backend_set_notify (BkBackend *backend, BkBackendNotify notify, gpointer user_data);
void bk_backend_connect (BkBackend *backend);
void bk_backend_disconnect (BkBackend *backend);
void bk_backend_free (BkBackend *backend);
/* @reason, @version: (out) (optional) (transfer full). */
BkLink bk_backend_link (BkBackend *backend, char **reason, char **version);

bool bk_backend_has_one_job (const BkBackend *backend);

/* Tells it which checkpoints there should be (BkCheckpointInfo, oldest first), for what manages the VM may have forgotten
 * them: the next inspection reminds it. Main thread; @checkpoints are copied. */
void bk_backend_recall (BkBackend *backend, GPtrArray *checkpoints);
/* True when nothing answers where the VM should: it is shut off, as far as that tells. As of the last look; any thread. */
bool bk_backend_is_off (BkBackend *backend);

/* Disks, bitmaps, state. Waits up to 5 s for a connection that is just coming up. */
BkVmState *bk_backend_inspect (BkBackend *backend, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* BkVmPart, as they are now: all that is needed, with the disks, to have the VM again. Empty when it has none that can be had.
 * (transfer full) */
GPtrArray *bk_backend_describe (BkBackend *backend, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Has a VM that runs open a scratch file in @folder as a run does, and close it again; nothing is left, also on failure. *@tried is
 * false, with success, when it cannot be tried without a backup, or there is nothing running. NO_SPACE, DENIED, FAILED. */
gboolean bk_backend_try_scratch (BkBackend *backend, const char *folder, bool *tried, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Scratch, filters and the checkpoint's bitmaps, while the guest runs on. Notes run->guest_running. */
gboolean bk_backend_prepare (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Takes the point in time of all disks at one instant, and notes it in the run. The caller has recorded that
 * the guest may be stopped (run->stops_guest). A disk that cannot be snapshot fails the whole call.
 * In direct mode: nothing but the note; the instant is that of start.
 * Whichever takes the instant calls bk_run_before_instant() with all else done and all locks held, and
 * bk_run_after_instant() at once when it is over: in between the guest may be frozen. */
gboolean bk_backend_snapshot (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Opens the targets and starts the copy. A disk whose target cannot be opened is marked failed and left out in
 * snapshot mode; when no disk is left, or in direct mode, the call fails. NO_SPACE, DENIED, INVALID. */
gboolean bk_backend_start (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Waits up to @timeout_ms for news and brings the run up to date: progress, disks copied or failed. *@done
 * when no disk is still running. FALSE only when nothing can be known any more (UNREACHABLE), or CANCELLED. */
gboolean bk_backend_wait (BkBackend *backend, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

gboolean bk_backend_pause (BkBackend *backend, BkRun *run, bool pause, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_backend_set_speed (BkBackend *backend, BkRun *run, uint64_t speed, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Ends the jobs of copied disks and closes their targets, with all metadata written; a disk for which that
 * fails is marked failed. The caller still has to fsync the files. */
gboolean bk_backend_close (BkBackend *backend, BkRun *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Mode pull, after snapshot and instead of start: stops the parents of the new bitmaps and offers the frozen disks to
 * readers, see the members of BkRun and BkRunDisk for where. A disk that cannot be exported is marked failed and left
 * out, the others are "running"; when none is left the call fails.
 * CONFLICT: another program uses QEMU's only NBD server. INVALID: nbd_listen, tls or the folder is no good. */
gboolean bk_backend_export (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Mode pull, while a reader reads (about once a second) and always after its last byte: whether what it has read until
 * now is the point in time. QEMU tells of a broken snapshot by no event, and shows the guest's new data from then on.
 * A disk that is not marked failed after TRUE is proven good up to the begin of this call. One whose snapshot broke is
 * marked failed: NO_SPACE (scratch was full or too slow), else FAILED; its export ends, and readers get errors. FALSE (UNREACHABLE mostly): nothing is
 * proven; ask again, or fail. For third parties it also starts again what stands between them and QEMU, if that has died. */
gboolean bk_backend_check_frozen (BkBackend *backend, BkRun *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Cancels what still runs and takes away all that the run put into the VM, but the checkpoint's bitmaps; ends its
 * exports. Continues the guest if the run stopped it. The caller's own readers are closed before: one that stays with
 * replies unread makes it fail with UNREACHABLE after some seconds, to be tried again; it never waits inside QEMU. */
gboolean bk_backend_release (BkBackend *backend, BkRun *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Gives the dirty bits back: merges the new bitmap into its parent, which records again, and removes it. For
 * disks that failed, or for @all. */
gboolean bk_backend_rollback (BkBackend *backend, BkRun *run, bool all, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A checkpoint without a backup: adds bitmap, stops parent_bitmap, all disks in one transaction. */
gboolean bk_backend_checkpoint_create (BkBackend *backend, BkRun *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Removes one bitmap of the disk named @disk; its bits go to @parent (NULL: oldest one, or they are not wanted), which records again
 * when @newest. A bitmap that is not there is success. *@merged tells whether the bits really went to @parent. */
gboolean bk_backend_checkpoint_delete (BkBackend *backend, const char *disk, const char *bitmap, const char *parent, bool newest, bool *merged, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A backend for @vm (transfer full) that also serves it while it is shut off: offline-backend.c. @folder: for sockets, only for us (0700),
 * with a short path, and of this VM alone. @recorded: what @record was told last, or NULL.
 * @record: main thread; the disks of the VM as it was just seen, to be kept (transfer none). */
typedef void (*BkRecordDisks) (json_object *recorded, gpointer user_data);
BkBackend *bk_offline_backend_new (BkBackend *vm, const char *folder, json_object *recorded, BkRecordDisks record, gpointer user_data);

/* The backend for one QMP socket (qmp-backend.c). */
BkBackend *bk_qmp_backend_new (const char *socket_path);
