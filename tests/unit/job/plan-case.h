/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A VM and its history out of short texts, for tables. Words are separated by spaces:
 *
 *   disks        NAME and marks: r read-only, m removable, e empty, b has a backing file, w raw, u untracked; "vda:rb"
 *   checkpoints  ID=BACKUP of disk vda, oldest first; BACKUP "-" is none. Marks behind a colon: p provisional,
 *                g (a gap: no parent), n not persistent, s larger than the disk is now, t smaller; "c1=b1:s"
 *   backups      ID=LEVEL of disk vda; marks f: that disk failed, d: damaged; "b2=incremental:f"; a copy is COPY<ORIGINAL=LEVEL
 *   bitmaps      of checkpoints on vda: ID and marks: r recording, i inconsistent, b busy, n not persistent, c cumulative
 */
#pragma once

#include "plan.h"

#define CASE_INSTANCE "1a2b3c"
#define CASE_SIZE (10ull << 30)
#define CASE_DIRTY (1ull << 20) /* in each bitmap */

typedef struct {
  const char *disks, *checkpoints, *backups, *bitmaps;
  const char *request; /* JSON, single quotes for double ones; {} members are added to {'vm': 'web01'} */
  bool dedup; /* the repository is of that type */
} PlanTexts;

typedef struct {
  BkPlanInput input;
  BkBackupRequest *request;
  BkVmState vm;
} PlanCase;

PlanCase *plan_case_new (const PlanTexts *texts);
void plan_case_free (PlanCase *plan_case);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PlanCase, plan_case_free)

BkRun *plan_case_plan (PlanCase *plan_case, GError **error);
BkDisk *plan_case_disk (PlanCase *plan_case, const char *name);
