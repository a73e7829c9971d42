/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The job kind "backup": a push of disks of one VM into a repository or to a target.
 *
 *   plan      what to do with each disk; the row with all names is written
 *   target    the backup's folder and its empty images          undo: remove them
 *   prepare   scratch, filters, the checkpoint's bitmaps        undo: everything out of the VM, dirty bits back
 *   snapshot  the point in time
 *   start     targets open, copy begins
 *   copy      wait; a restarted daemon goes on from here
 *   release   targets closed, VM as before; failed disks get their dirty bits back
 *   sync      images on stable storage, checked and measured
 *   commit    the manifest: from here on the backup exists; checkpoint and backup enter the catalog
 *
 * Main thread.
 */
#pragma once

#include "job.h"
#include "plan.h"
#include "repository-registry.h"
#include "vm-registry.h"

typedef struct {
  BkVm *vm;
  BkRepositoryRegistry *repositories;
  const char *scratch;      /* folder */
  uint64_t scratch_reserve; /* bytes that must stay free in it */
  bool settling; /* what is left of earlier jobs is being taken away: by the time that the job starts it will be gone */
} BkBackupJobContext;

extern const BkJobKind bk_backup_job_kind;

/* The kind's data for a new job, or, with @run from the catalog, for one that is taken up again. All
 * arguments are copied or referenced. @backup_id: of the backup to be made and its checkpoint; NULL = a new one.
 * INVALID when @run cannot be read. */
gpointer bk_backup_job_data_new (const BkBackupJobContext *context, const BkBackupRequest *request, const char *backup_id, json_object *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Plans with what the catalog knows, for submit and --dry-run. *@archive: (out) (transfer full), NULL with a
 * target of its own. Errors of bk_plan_backup(); NOT_FOUND, UNREACHABLE for the repository. */
BkRun *bk_backup_job_plan (const BkBackupJobContext *context, BkCatalog *catalog, const BkBackupRequest *request,
                           const BkVmState *state, BkArchive **archive, char **reason, BkPlanInfo **info, GError **error) G_GNUC_WARN_UNUSED_RESULT;
