/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Shared by the files of the queue: queue.c (which jobs there are, and which may run), queue-submit.c (new ones), queue-export.c (exports),
 * queue-repository.c (new ones that work on repositories alone, and
 * what is done to backups at once), queue-recover.c (those that an earlier daemon left), queue-checkpoint.c (checkpoints
 * without a backup), queue-hold.c (what uses backups without being a job).
 */
#pragma once

#include "backup.h"
#include "claims.h"
#include "job.h"
#include "queue.h"

typedef struct {
  BkJob *job;
  BkClaims *claims;
} BkQueueEntry;

struct BkQueueHold {
  BkQueue *queue;
  BkClaims *claims;
  char *why;
};

struct BkQueue {
  BkCatalog *catalog;
  BkVmRegistry *vms;
  BkRepositoryRegistry *repositories;
  BkEventRing *events;
  unsigned max_running;
  char *scratch;
  uint64_t scratch_reserve;
  char *exports;
  unsigned freeze_limit_ms;
  char *hooks_dir;
  unsigned hook_seconds;
  uint64_t trash_seconds;
  GPtrArray *entries;   /* BkQueueEntry: every job that is not over and settled, oldest first */
  GPtrArray *short_ops; /* BkClaims of checkpoint operations under way; not owned */
  GPtrArray *holds;     /* BkQueueHold; not owned */
  unsigned pending;     /* asynchronous calls that hold a pointer to us */
  bool stopping;
  unsigned settle_timer;   /* an undo that failed is tried again */
  unsigned settle_seconds; /* the next pause before that */
};

/* CONFLICT when @claims meets a job's or an operation's. */
gboolean bk_queue_check_jobs (BkQueue *queue, const BkClaims *claims, GError **error);
/* Or a hold. */
gboolean bk_queue_check_claims (BkQueue *queue, const BkClaims *claims, GError **error);

/* INVALID for what is no job ID, CONFLICT for one that is taken. @id may be NULL. */
gboolean bk_queue_check_new_id (BkQueue *queue, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A row for a new job, not stored yet. @id: NULL = a new one. @request: (transfer full). */
BkJobRecord *bk_queue_record_new (const char *id, const char *kind, const char *vm, json_object *request);
/* Stores the row and queues the job. @record, @data, @claims: (transfer full), freed on failure as well. CONFLICT. */
BkJobInfo *bk_queue_admit (BkQueue *queue, BkJobRecord *record, const BkJobKind *kind, gpointer data, BkClaims *claims, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What can be asked of a VM: its disks are looked at and planned, then "admit" makes the answer of it, on the main thread.
 * *@plan is its to take. */
typedef struct {
  gpointer (*admit) (BkQueue *queue, const BkBackupContext *context, const BkBackupRequest *request, const BkRun *run, BkPlanInfo **plan,
                     gpointer extra, GError **error);
  GDestroyNotify free_result, free_extra;
  bool export; /* see BkPlanInput */
} BkQueueAsk;
/* @extra: (transfer full). Finish with g_task_propagate_pointer(). */
void bk_queue_ask_async (BkQueue *queue, const BkQueueAsk *ask, const BkBackupRequest *request, gpointer extra, GAsyncReadyCallback callback,
                         gpointer user_data);

/* Takes a job on whose row is stored. @record, @data, @claims: (transfer full). Returns: (transfer none). */
BkJob *bk_queue_add (BkQueue *queue, BkJobRecord *record, const BkJobKind *kind, gpointer data, BkClaims *claims);
/* Starts what may start now. */
void bk_queue_schedule (BkQueue *queue);
/* Over, but something of it is still in the VM. */
bool bk_queue_entry_is_unsettled (const BkQueueEntry *entry);
bool bk_queue_entry_is_of_vm (const BkQueueEntry *entry, const char *vm);

/* What the kinds need and claim, for new jobs and for those of an earlier daemon. (transfer full) */
BkBackupContext bk_queue_backup_context (BkQueue *queue, BkVm *vm, bool export);
/* Of a backup in @mode, and its data: see bk_backup_init(). */
const BkJobKind *bk_queue_backup_kind (const char *mode);
gpointer bk_queue_backup_data (const BkJobKind *kind, const BkBackupContext *context, const BkBackupRequest *request, const char *id,
                               json_object *run, GError **error);
/* @disks: BkJobDisk. */
BkClaims *bk_queue_backup_claims (const BkBackupRequest *request, bool one_job, GPtrArray *disks);
/* The data of the job that restores @backup. As the submit function fails. */
gpointer bk_queue_restore_data (BkQueue *queue, const BkRestoreRequest *request, const BkBackupInfo *backup, GError **error);
/* @data: of the restore job. */
BkClaims *bk_queue_restore_claims (const BkBackupInfo *backup, gpointer data);
BkClaims *bk_queue_delete_claims (BkQueue *queue, const BkBackupInfo *backup);
/* The data of the job that deletes @backup. NOT_FOUND, UNREACHABLE for its repository. */
gpointer bk_queue_delete_data (BkQueue *queue, const BkBackupInfo *backup, GError **error);
/* Data and claims of the kinds that work on repositories alone, by the request; NULL as the submit functions fail. */
gpointer bk_queue_verify_data (BkQueue *queue, const BkVerifyRequest *request, BkBackupInfo **backup, BkClaims **claims, GError **error);
gpointer bk_queue_gc_data (BkQueue *queue, const BkGcRequest *request, BkClaims **claims, GError **error);
/* @id: of the copy; NULL = a new one. */
gpointer bk_queue_copy_data (BkQueue *queue, const BkCopyRequest *request, const char *id, BkBackupInfo **backup, BkClaims **claims, GError **error);

/* Finishes what an earlier attempt to make or to delete a checkpoint of @vm has left half done. */
void bk_queue_settle_checkpoints (BkQueue *queue, const char *vm);
