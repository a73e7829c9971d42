/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A backup in the making: what job kinds that take a point in time of a running VM have in common, whichever way its
 * bytes come out (push-job.h, pull-job.h, export-job.h). The data of such a kind begins with a BkBackup, so that
 * the steps here can be entries of its table. Who may touch it: the main thread between steps, the worker
 * during one.
 */
#pragma once

#include "backup-plan.h"
#include "job.h"

typedef struct {
  BkVm *vm;
  BkRepositoryRegistry *repositories;
  char *scratch;
  uint64_t scratch_reserve;
  unsigned freeze_limit_ms;
  char *hooks_dir;
  unsigned hook_seconds;
  char *exports;
  BkBackupRequest *request;
  bool makes_backup;  /* false: only a point in time, for others to read */

  BkVmState *state;   /* found by inspect, until planned */
  BkStore *store;     /* NULL with a target of its own */
  char *id;           /* of the backup to be and its checkpoint */
  char *folder;       /* where it is in the repository; NULL with a target */
  BkRun *run;         /* NULL until planned */
  GPtrArray *parts;   /* BkVmPart, until it is committed; NULL when they could not be had */
  bool vm_ended;      /* in the middle: it was begun anew */
  GStrv made;         /* target files that did not exist before: undo removes them */
  bool hook_due;      /* from the plan on: "after" has to run yet */
  GPtrArray *hooks;   /* BkHookRun, as far as they have run */
} BkBackup;

/* Fills @backup, all zero, for a new job, or, with @run from the catalog, for one that is taken up again. All arguments
 * are copied or referenced. @id: of the backup and its checkpoint; NULL = a new one. INVALID when @run cannot be
 * read. Clear it in any case. */
gboolean bk_backup_init (BkBackup *backup, const BkBackupContext *context, const BkBackupRequest *request, const char *id,
                         json_object *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_backup_clear (BkBackup *backup);

/* Its form in the catalog. */
json_object *bk_backup_to_json (gpointer data);

/* --- steps: see BkStep --- */

/* "plan": what to do with each disk; the row with all names is written, and a provisional checkpoint. */
gboolean bk_backup_work_plan (BkJob *job, gpointer data, GCancellable *cancellable, GError **error);
gboolean bk_backup_record_plan (BkJob *job, gpointer data, GError **error);
/* "prepare": scratch, filters, the checkpoint's bitmaps. Undo takes everything out of the VM, and gives all dirty bits
 * back. */
gboolean bk_backup_work_prepare (BkJob *job, gpointer data, GCancellable *cancellable, GError **error);
gboolean bk_backup_undo_prepare (BkJob *job, gpointer data, GError **error);
/* "snapshot": the point in time, noted in the job by the step that takes it. Undo sees to it that the guest is not left
 * frozen. */
gboolean bk_backup_work_snapshot (BkJob *job, gpointer data, GCancellable *cancellable, GError **error);
gboolean bk_backup_undo_snapshot (BkJob *job, gpointer data, GError **error);
gboolean bk_backup_record_instant (BkJob *job, gpointer data, GError **error);

/* --- for the kinds --- */

/* What goes into the repository beside the disks, which is little: BkVmPart, never NULL. (transfer none) Worker. */
GPtrArray *bk_backup_parts (BkBackup *backup);
/* @take takes the instant, with hooks around it and the guest frozen as is planned. Worker threads. */
typedef gboolean (*BkTakeInstant) (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_backup_take_instant (BkJob *job, BkBackup *backup, BkTakeInstant take, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* In the job's info: what is known of freeze and hooks. Main thread, while no worker has the backup. */
void bk_backup_show_instant (BkJob *job, const BkBackup *backup);

/* After "commit": backup and checkpoint enter the catalog, and the job ends as partial when a disk has failed. */
gboolean bk_backup_record_commit (BkJob *job, gpointer data, GError **error);
/* The job ends as partial when a disk has failed. */
void bk_backup_end_partial (BkJob *job, const BkBackup *backup);
/* When the VM has ended in the middle, what QEMU had frozen has gone with it; but the guest's last state is in the images: the
 * point in time becomes that, and all of the job is done anew on them. Once. */
bool bk_backup_again (BkJob *job, gpointer data);
/* After the undo: nothing of it is in the catalog. */
void bk_backup_undone (BkJob *job, gpointer data);

/* The host's file system must not fill up because of us; without scratch the backup fails, not the guest. NO_SPACE. */
gboolean bk_backup_check_scratch (const BkBackup *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Makes rows of the run's disks in @info, which show what is known of them now. Main thread. */
void bk_backup_show_disks (const BkBackup *backup, BkJobInfo *info);
/* Some disks may fail and others not; when none is left, the job has failed: with the first one's error. */
gboolean bk_backup_check_disks (const BkBackup *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;
