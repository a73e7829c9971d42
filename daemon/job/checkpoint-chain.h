/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The checkpoints of one disk, newest first, as far back as their bitmaps can be trusted. The union of the
 * bitmaps of links 0..n is what changed since checkpoint n. Pure.
 *
 * The walk starts at the newest committed checkpoint of the disk and ends before the first that
 *   - is not the recorded parent of the one after it: there is a gap whose changes nobody recorded,
 *   - has a bitmap that is missing, inconsistent, busy, or changed from outside (only the newest records;
 *     persistence is as it was),
 *   - is larger than the disk was later: what was cut off is not in any bitmap,
 *   - is older than a provisional checkpoint whose bitmap is still on the disk: that one took some changes.
 *
 * So who removes a checkpoint hands its changes and its parent on to its neighbours; when its bitmap is no
 * good, the next one has no parent from then on. A parent that is not there ends the walk as well.
 */
#pragma once

#include "disk.h"

typedef struct {
  const BkCheckpointInfo *checkpoint;
  const BkCheckpointDisk *entry; /* its row for the disk */
  const BkBitmap *bitmap;
} BkCheckpointLink;

typedef struct {
  GArray *links; /* BkCheckpointLink, newest first */
  char *end;     /* why older checkpoints are not among them; NULL when there are none */
} BkCheckpointChain;

/* @checkpoints: BkCheckpointInfo of the VM, oldest first; must outlive the chain, as @disk. */
BkCheckpointChain *bk_checkpoint_chain_new (const BkDisk *disk, GPtrArray *checkpoints) G_GNUC_WARN_UNUSED_RESULT;
void bk_checkpoint_chain_free (BkCheckpointChain *chain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkCheckpointChain, bk_checkpoint_chain_free)

const BkCheckpointLink *bk_checkpoint_chain_link (const BkCheckpointChain *chain, unsigned index);

/* Index of the link of @checkpoint, or -1. */
int bk_checkpoint_chain_find (const BkCheckpointChain *chain, const BkCheckpointInfo *checkpoint);

/* The row of @checkpoint for the disk named @disk, or NULL. */
const BkCheckpointDisk *bk_checkpoint_chain_entry (const BkCheckpointInfo *checkpoint, const char *disk);

/* True when @entry is of a job that came to its end. */
bool bk_checkpoint_chain_is_committed (const BkCheckpointDisk *entry);

/* The newest committed checkpoint of @disk if its bitmap is sound and records, that is: whose bitmap a new
 * checkpoint takes over from. FALSE else. */
bool bk_checkpoint_chain_parent (const BkDisk *disk, GPtrArray *checkpoints, BkCheckpointLink *parent);
