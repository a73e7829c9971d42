/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What must happen to bitmaps, and to the checkpoints around, when a checkpoint goes. Pure.
 */
#pragma once

#include "bk-types.h"

/* One bitmap that has to be folded into the one before it. */
typedef struct {
  char *disk;
  char *bitmap;
  char *parent; /* bitmap of the committed checkpoint before it on this disk, or NULL */
  bool newest;  /* no committed one comes after it: the parent records again */
} BkFold;
void bk_fold_free (BkFold *fold);

/* What deleting checkpoint @id means, disk by disk. @checkpoints: of the VM, oldest first. (transfer full),
 * BkFold; empty when there is no such checkpoint. */
GPtrArray *bk_checkpoint_folds (GPtrArray *checkpoints, const char *id);

/* After the bitmaps of @id were folded: the checkpoints (BkCheckpointInfo, (transfer container), still owned by
 * @checkpoints) that named it as their parent, changed to name its own parent. They are to be stored again. */
GPtrArray *bk_checkpoint_relink (GPtrArray *checkpoints, const char *id);
