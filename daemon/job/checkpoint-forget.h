/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Takes checkpoints out of the catalog. Main thread. The caller may hold a change open.
 */
#pragma once

#include "catalog.h"

/* Call after @folds (BkFold) were carried out: those that stood on it stand on its parent from now on, where its
 * bits went there. Not being there is success. The caller may hold a change open. */
gboolean bk_checkpoint_forget (BkCatalog *catalog, const char *vm, const char *id, GPtrArray *folds, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A new chain has begun on @disk with checkpoint @id: those before it can serve no increment of that disk any more, for
 * nobody knows what changed between. Takes the disk out of them, and those without a disk away. Bitmaps that are
 * still there are removed with the next backup (see stale_bitmaps in plan.h). */
gboolean bk_checkpoint_forget_before (BkCatalog *catalog, const char *vm, const char *disk, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
