/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The queue: accepts requests, keeps jobs from getting in each other's way, runs as many as allowed at once,
 * and brings unfinished ones to an end after a restart. All that changes something goes through here. Main
 * thread only.
 *
 * Jobs claim things: a disk of a VM, or a backup. A claim that another unfinished job holds is CONFLICT, with
 * that job's ID in the message. Jobs without conflict wait only for a free place (@max_running).
 *
 * Information goes up as results and as events in the ring: type "job", body = the job, at each change of
 * state and about once a second while it copies; types "vm", "backup", "checkpoint" on change.
 */
#pragma once

#include "repository-registry.h"
#include "vm-registry.h"

typedef struct BkQueue BkQueue;

typedef struct {
  unsigned max_running; /* 0 = 16 */
  const char *scratch;  /* folder for scratch files; made when missing */
  uint64_t scratch_reserve; /* bytes that must stay free there; below it a snapshot push is given up; 0 = 1 GiB */
  const char *exports;      /* folder for sockets of exports, with a short path; made when missing */
  unsigned freeze_seconds;  /* how long a guest stays frozen at most; 0 = 10 */
  const char *hooks_dir;    /* folder of programs that jobs may name; NULL = none */
  unsigned hook_seconds;    /* how long one may run; 0 = 60 */
  uint64_t trash_seconds;   /* how long a deleted backup of a dedup repository can be had back; 0 = 7 days */
} BkQueueOptions;

BkQueue *bk_queue_new (BkCatalog *catalog, BkVmRegistry *vms, BkRepositoryRegistry *repositories, BkEventRing *events,
                       const BkQueueOptions *options);
/* Running jobs are left as they are in QEMU, to be adopted at the next start. Blocks until workers are back. */
void bk_queue_free (BkQueue *queue);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkQueue, bk_queue_free)

/* Takes up the jobs that an earlier daemon left. Call once, after the registries are loaded. */
gboolean bk_queue_recover (BkQueue *queue, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- new jobs; finish returns (transfer full) BkJobInfo in state queued or later --- */

/* Asks the VM for its disks, plans, and queues. INVALID, NOT_FOUND (VM, disk, repository, checkpoint),
 * CONFLICT (ID taken, disk busy), UNREACHABLE (VM). With dry_run nothing is queued: use
 * bk_queue_plan_backup_*() for that. */
void bk_queue_submit_backup_async (BkQueue *queue, const BkBackupRequest *request, GAsyncReadyCallback callback, gpointer user_data);
BkJobInfo *bk_queue_submit_backup_finish (BkQueue *queue, GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --dry-run: the same checks, and the plan. */
void bk_queue_plan_backup_async (BkQueue *queue, const BkBackupRequest *request, GAsyncReadyCallback callback, gpointer user_data);
BkPlanInfo *bk_queue_plan_backup_finish (BkQueue *queue, GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Returns at once. CONFLICT when an output exists and force is not set, and for busy backups. */
BkJobInfo *bk_queue_submit_restore (BkQueue *queue, const BkRestoreRequest *request, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Jobs of kinds "verify", "gc" and "copy". They return at once. INVALID (a repository of another type, both or none named),
 * NOT_FOUND, CONFLICT, UNREACHABLE (the repository). */
BkJobInfo *bk_queue_submit_verify (BkQueue *queue, const BkVerifyRequest *request, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkJobInfo *bk_queue_submit_gc (BkQueue *queue, const BkGcRequest *request, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkJobInfo *bk_queue_submit_copy (BkQueue *queue, const BkCopyRequest *request, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A job of kind "delete": in a dedup repository the backup goes to the trash; else younger backups that stand on it are made independent of it first. */
BkJobInfo *bk_queue_submit_delete (BkQueue *queue, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- jobs; IDs may be unambiguous prefixes --- */

BkJobInfo *bk_queue_get_job (BkQueue *queue, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* BkJobInfo, newest first; *@next_before is the cursor of the next page, 0 at the end. INVALID. */
GPtrArray *bk_queue_list_jobs (BkQueue *queue, const BkJobFilter *filter, uint64_t *next_before, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The verbs. CONFLICT when the job's state does not allow it. They return the job as it is then; a cancel is
 * done when the job's state is cancelled. */
BkJobInfo *bk_queue_cancel (BkQueue *queue, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkJobInfo *bk_queue_pause (BkQueue *queue, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkJobInfo *bk_queue_resume (BkQueue *queue, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkJobInfo *bk_queue_set_speed (BkQueue *queue, const char *id, uint64_t speed, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- backups --- */
GPtrArray *bk_queue_list_backups (BkQueue *queue, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT; /* oldest first */
BkBackupInfo *bk_queue_get_backup (BkQueue *queue, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* In the trash of all dedup repositories that can be reached, oldest first; each has its deleted_at. */
GPtrArray *bk_queue_list_trash (BkQueue *queue, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* They return the backup as it is then. NOT_FOUND, INVALID (not of a dedup repository), CONFLICT (busy, or gone), UNREACHABLE. */
BkBackupInfo *bk_queue_pin_backup (BkQueue *queue, const char *id, bool pinned, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkBackupInfo *bk_queue_undelete_backup (BkQueue *queue, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- exports: jobs of kind "export", seen as what they are for --- */
/* Asks the VM for its disks, plans and queues, as for a backup. */
void bk_queue_begin_export_async (BkQueue *queue, const BkExportRequest *request, GAsyncReadyCallback callback, gpointer user_data);
BkExportInfo *bk_queue_begin_export_finish (BkQueue *queue, GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;
GPtrArray *bk_queue_list_exports (BkQueue *queue, GError **error) G_GNUC_WARN_UNUSED_RESULT; /* those that have not ended, oldest first */
BkExportInfo *bk_queue_get_export (BkQueue *queue, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Begins the end; it is over when the state is ended or failed. CONFLICT: not ready, or ending already. */
BkExportInfo *bk_queue_end_export (BkQueue *queue, const char *id, bool success, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- checkpoints --- */
GPtrArray *bk_queue_list_checkpoints (BkQueue *queue, const char *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_queue_create_checkpoint_async (BkQueue *queue, const BkCheckpointRequest *request, GAsyncReadyCallback callback, gpointer user_data);
BkCheckpointInfo *bk_queue_create_checkpoint_finish (BkQueue *queue, GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* CONFLICT while a job uses its disks. Later checkpoints take over its changes. */
void bk_queue_delete_checkpoint_async (BkQueue *queue, const char *id, GAsyncReadyCallback callback, gpointer user_data);
gboolean bk_queue_delete_checkpoint_finish (BkQueue *queue, GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- what reads a backup without being a job --- */
typedef struct BkQueueHold BkQueueHold;
/* As long as it lasts, no backup is deleted that the image of @disk in @backup stands on: that is CONFLICT, and ends with @why,
 * which says what to do. In a dedup repository nothing stands on anything, and nothing is held: gc leaves what others read.
 * CONFLICT: a job has one of them in hand. (transfer full) */
BkQueueHold *bk_queue_hold_disk (BkQueue *queue, const BkBackupInfo *backup, const char *disk, const char *why, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Before the queue itself goes. */
void bk_queue_hold_free (BkQueueHold *hold);

/* --- things that need to know of jobs --- */
/* IDs of unfinished jobs of @vm; (transfer full). */
GStrv bk_queue_jobs_of_vm (BkQueue *queue, const char *vm);
/* CONFLICT naming a job while one is unfinished. */
gboolean bk_queue_remove_vm (BkQueue *queue, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_queue_remove_repository (BkQueue *queue, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
