/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The plan of a backup: from what is asked and what is there to a decision per disk with its reason. Pure:
 * no I/O, no clock. Every "no such disk", "read-only" and "not possible on raw" comes from here.
 *
 * Level, per disk. A checkpoint can be the base of an increment when
 *   - it is committed for this disk, and the backup it was made with is completed for this disk in the same
 *     repository (with a target of its own: any committed checkpoint), so that there is an image to stand on;
 *   - its bitmap and those of all later checkpoints of this disk exist, are not inconsistent and not busy;
 *     only the newest records; persistence is as it was;
 *   - the disk did not shrink since (a grown disk is fine: the new area is zero until written, and then
 *     dirty).
 * auto: the newest such checkpoint, else full. incremental: likewise, else INVALID with the reason.
 * differential: --since names it, or else the checkpoint of the newest full backup; else INVALID. --since with
 * auto or incremental means differential from there. full: full.
 * With a target of its own, auto means full.
 *
 * In a repository of type dedup every backup is logically full, and nothing stands on another: a "full" is read whole, and
 * stores what differs. parent_backup is then only the backup to compare with, and what is clean is as in it: for an
 * increment the one of its base checkpoint, else the newest of the disk. One that is known to be damaged is neither:
 * the disk is read whole, so that it heals.
 *
 * Mode: a repository of type dedup takes pull alone, one of type qcow2 push alone, a target both. auto is push for a target.
 * auto and push mean the snapshot push where the hypervisor has it and there is scratch space, else the
 * direct push, with the reason; so does sync=top. A pull needs scratch space and a disk that the hypervisor can export;
 * to a target it is full. A run of one mode for all disks.
 *
 * An export is a pull whose disks others read. It is full, but for --since: then it offers the changes since that
 * checkpoint, and is full, with the reason, for a disk where they are not known.
 *
 * A VM that is shut off (vm->offline) is read from its images: no scratch space is needed, and no guest waits. A disk whose image
 * cannot be read is INVALID, with the reason.
 *
 * Each disk gets a new checkpoint, with a bitmap that is persistent where the disk can keep it; a read-only
 * disk gets none, nor one of a VM that is shut off where it cannot be persistent. parent_bitmap is the bitmap of the newest committed checkpoint of the disk that still
 * exists, is sound and records. stale_bitmaps are bitmaps of ours (by the checkpoints given, or by name
 * "bkd-INSTANCE-cp-") on the disk that are inconsistent, or that none of the checkpoints knows.
 */
#pragma once

#include "backend.h"

typedef struct {
  const BkBackupRequest *request;
  const BkVmState *vm;
  GPtrArray *checkpoints;  /* BkCheckpointInfo of this VM, oldest first */
  GPtrArray *backups;      /* BkBackupInfo of this VM in the repository, oldest first; empty with a target */
  const char *repository;  /* its name, or NULL with a target */
  bool dedup;              /* that is its type; else qcow2 */
  bool export;             /* it goes nowhere: others read it. Without repository and target */
  const char *instance;    /* six hex digits */
  const char *scratch;     /* folder, or NULL when there is no scratch space */
  const char *no_scratch;  /* why not, in words */
  const char *export_folder; /* for sockets of exports of this VM */
} BkPlanInput;

/* Returns: (transfer full) a run with all decisions made and no names yet: prefix, bitmap, target and backing
 * are NULL; base_bitmaps, parent_*, stale_bitmaps, level, reason, sync, estimated are set.
 * CONFLICT: not now (BkVmState.obstacle). INVALID, NOT_FOUND (disk, checkpoint: the message names those that there are). */
BkRun *bk_plan_backup (const BkPlanInput *input, char **mode_reason, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The name of the new bitmap on @disk: "bkd-INSTANCE-cp-CHECKPOINT-INDEX", or without the index where all have one name. (transfer
 * full) */
char *bk_plan_bitmap (const BkRun *run, const BkRunDisk *disk, const char *instance, const char *checkpoint);

/* Gives the run its names: prefix "bkd-INSTANCE-NUMBER", new bitmaps "bkd-INSTANCE-cp-NUMBER-INDEX" for disks that
 * shall have one (persistent or not), targets. With a repository, targets are FOLDER/DISK.qcow2 and backing is
 * "../PARENT/DISK.qcow2"; NULL in one of type dedup; else the request's target: one disk: the path, device or URI itself; several:
 * TARGET/DISK.FORMAT, or for an NBD URI the text "{disk}" in it replaced (INVALID when it has none). */
gboolean bk_plan_name (BkRun *run, const BkBackupRequest *request, const char *instance, uint64_t number,
                       const char *folder, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What --dry-run shows. (transfer full) */
BkPlanInfo *bk_plan_describe (const BkRun *run, const BkPlanInput *input, const char *mode_reason);
