/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Plans a backup with what the catalog and the repositories know, for submit, --dry-run and the job itself: gathers
 * what bk_plan_backup() is to look at, and checks what it cannot. Main thread.
 */
#pragma once

#include "plan.h"
#include "repository-registry.h"
#include "vm-registry.h"

typedef struct {
  BkVm *vm;
  BkRepositoryRegistry *repositories;
  const char *scratch;      /* folder */
  uint64_t scratch_reserve; /* bytes that must stay free in it */
  const char *exports;      /* folder for sockets of exports */
  bool export;   /* see BkPlanInput */
  bool settling; /* what is left of earlier jobs is being taken away: by the time that the job starts it will be gone */
  unsigned freeze_limit_ms; /* how long a guest is frozen at most */
  const char *hooks_dir;    /* NULL = there are no hooks */
  unsigned hook_seconds;    /* how long one may run */
} BkBackupContext;

/* *@store, *@reason, *@info: (out) (optional) (transfer full); *@store is NULL with a target of its own. Errors of
 * bk_plan_backup(); NOT_FOUND, UNREACHABLE for the repository; CONFLICT for a disk that is in use. */
BkRun *bk_backup_plan (const BkBackupContext *context, BkCatalog *catalog, const BkBackupRequest *request,
                       const BkVmState *state, BkStore **store, char **reason, BkPlanInfo **info, GError **error) G_GNUC_WARN_UNUSED_RESULT;

