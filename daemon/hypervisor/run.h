/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A run: what a backend needs to know to carry one backup job through, and to find it again or undo it after
 * a crash. It is planned wholly before QEMU hears of it, and its JSON form is committed to the catalog
 * first ("write down first"). All names in QEMU derive from prefix and index:
 *
 *   PREFIX-s0  scratch (format node)   PREFIX-sf0  its file      PREFIX-c0  copy-before-write filter
 *   PREFIX-a0  snapshot-access         PREFIX-t0   target        PREFIX-tf0 its file
 *   PREFIX-f0  a direct job's filter   PREFIX-j0   the job       PREFIX-inc the temporary bitmap
 *   PREFIX-m0  an empty node or image that carries PREFIX-inc where the disk's own nodes cannot
 *   PREFIX-o0  the image of a VM that is shut off, read       PREFIX-w0  the same for a moment, to write bitmaps
 * and, of exports, PREFIX-x0 (the frozen content), PREFIX-k0 (the canary), PREFIX-l0 (the lock), PREFIX-m0: qmp-pull.c
 *
 * PREFIX is "bkd-INSTANCE-NUMBER", INSTANCE six hex digits of the daemon's catalog, NUMBER the job's. Nothing
 * without that prefix is touched, but the checkpoints' own bitmaps, "bkd-INSTANCE-cp-NUMBER-INDEX": no
 * two of them have one name, so that images which change places cannot be taken for each other.
 *
 * One owner at a time: the main thread between steps, the step's worker during a step. The counters of
 * BkRunDisk are atomic and may be read meanwhile.
 */
#pragma once

#include "bk-types.h"

typedef struct {
  char *name;   /* disk */
  uint64_t index;
  char *qdev, *root, *node;
  char *format;
  char *file; /* as QEMU names the image */
  char *class_name; /* as the VM's owner has said; NULL = none */
  bool in_iothread; /* noted when the run is prepared */
  char *path; /* offline: the image */
  uint64_t size;

  /* what to copy */
  char *level;  /* full, incremental, differential */
  char *reason;
  char *sync;   /* full, top, none, bitmap */
  GStrv base_bitmaps; /* sync=bitmap: their union is what changed; never empty then */
  char *base_checkpoint; /* ID */

  /* the new checkpoint */
  bool checkpoint; /* one is to be made */
  char *bitmap;    /* its name; NULL = none is made */
  char *parent_bitmap; /* recorded until now; stops at the point in time; NULL = none */
  char *parent_checkpoint;
  bool persistent;
  GStrv stale_bitmaps; /* ours, good for nothing any more: removed on the way */

  /* where to */
  char *target_driver; /* file, host_device, nbd */
  char *target;        /* absolute path, or URI */
  char *target_format; /* qcow2 or raw */
  char *parent_backup; /* whose image is the backing file, or NULL */
  char *backing;       /* path of that image relative to the new one, or NULL */
  uint64_t estimated;

  /* where a reader finds it: filled in by bk_backend_export() */
  char *export_name;   /* on run->nbd_address; NULL when there is a frozen_path */
  char *dirty_context; /* "qemu:dirty-bitmap:NAME": what changed; NULL when all of it is to be read */
  char *frozen_path;   /* a file with the frozen content, instead of the export; NULL mostly */
  char *canary_path;   /* for bk_backend_check_frozen() alone */
  char *map_export;    /* then: an empty export of the same size on run->nbd_address that has the dirty_context */

  /* outcome */
  char *state;    /* planned, running, copied, completed, failed */
  BkProblem *error;
  uint64_t bytes_total, bytes_transferred, bytes_zero, bytes_stored; /* use bk_run_disk_progress() while it runs */
  uint64_t bytes_different, bytes_new; /* pull: as in BkJobDisk */
} BkRunDisk;
BK_TYPE (BkRunDisk, bk_run_disk)

/* What a backend calls around the instant of the point in time, as close to it as it can: between the two calls the guest
 * may stand still. */
typedef struct {
  gboolean (*before) (gpointer data, GCancellable *cancellable, GError **error); /* FALSE: there is to be no point in time */
  void (*after) (gpointer data); /* also when the instant failed, but not when before did */
  gpointer data;
} BkInstant;

typedef struct {
  char *prefix;
  char *mode;    /* push, push-direct, pull */
  char *scratch; /* folder for scratch files */
  uint64_t speed;
  bool compress;
  char *on_source_error, *on_target_error;
  bool offline; /* the VM is shut off: a storage daemon of ours reads the images, and nobody stops for it: offline-run.c */
  GStrv watches; /* offline: what proves that nobody has changed them since the point in time: image-watch.h */
  bool guest_running; /* when the run was prepared: cont is sent after stop, also by recovery */
  bool stops_guest;   /* in snapshot mode, with more than one disk, or one in an iothread: stopped for some milliseconds */
  uint64_t pause_us;  /* how long the guest stood still, measured */
  int64_t point_in_time;
  char *qemu_version;
  GPtrArray *disks; /* BkRunDisk */

  /* freezing the guest's file systems */
  char *agent;         /* address (agent.h); NULL = the guest is not to be frozen */
  GStrv quiesce_mounts;
  bool must_quiesce;   /* else the backup fails */
  bool may_be_frozen;  /* from the plan on, until it is known that the guest is thawed; undo sees to it */
  BkQuiesceInfo *quiesce; /* what is known of it */

  /* mode pull: what is asked for */
  char *export_folder; /* for sockets and mount points: one for all runs of a VM, and of no other; only for us (0700); with a short path */
  bool export;         /* for a third party, who may stall and must not hurt the VM */
  char *nbd_listen;    /* export: "tcp:HOST:PORT", port 0 = any; NULL = a unix socket in export_folder */
  char *tls;           /* export: folder with keys.psk, or with ca-cert.pem, server-cert.pem and server-key.pem; NULL = none */

  /* mode pull: filled in by bk_backend_export() */
  char *nbd_address; /* "unix:PATH" or "tcp:HOST:PORT": where readers connect to */
  char *nbd_tls;     /* what they have to speak there: "psk", "x509" (both sides show certificates) or NULL */
  char *nbd_server;  /* socket of QEMU's own NBD server */

  const BkInstant *instant; /* not in the JSON form, (transfer none); NULL = nothing is to be called */

  bool one_bitmap_name; /* not in the JSON form: without the INDEX, see BkVmState */
  unsigned own_folders; /* not in the JSON form: of those above a target, the repository's, which may be opened for who is to
                         * write there */

  /* not in the JSON form: for stall detection */
  bool user_paused;
  const BkRunDisk *stopped; /* whose job QEMU has paused for an error (on_*_error: stop), as of the last wait; or NULL */
  bool stopped_full;        /* because its target is full */
  uint64_t last_sum;
  int64_t last_progress_us;
} BkRun;
BK_TYPE (BkRun, bk_run)

/* Modes push and pull: what is read is a snapshot. */
bool bk_run_is_snapshot (const BkRun *run);
bool bk_run_is_pull (const BkRun *run);
bool bk_run_disk_is_nbd (const BkRunDisk *disk); /* its target */

/* For backends: see BkInstant. Worker threads. */
gboolean bk_run_before_instant (const BkRun *run, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_run_after_instant (const BkRun *run);

/* "PREFIX-ROLEINDEX"; (transfer full) */
char *bk_run_name (const BkRun *run, const char *role, const BkRunDisk *disk);

/* Atomic snapshot of the counters of @disk. Any thread. */
void bk_run_disk_progress (BkRunDisk *disk, uint64_t *total, uint64_t *transferred);
void bk_run_disk_set_progress (BkRunDisk *disk, uint64_t total, uint64_t transferred);

/* Marks @disk failed with @error (transfer none), unless it is already. */
void bk_run_disk_fail (BkRunDisk *disk, const GError *error);
bool bk_run_disk_has_failed (const BkRunDisk *disk);

/* The first disk that has failed, or NULL, and how many have. */
const BkRunDisk *bk_run_first_failed (const BkRun *run, unsigned *failed);
