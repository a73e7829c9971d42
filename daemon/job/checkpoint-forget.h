/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Takes a checkpoint out of the catalog. Main thread.
 */
#pragma once

#include "catalog.h"

/* Call after its bitmaps were folded: those that stood on it stand on its parent from now on. Not being there is
 * success. The caller may hold a change open. */
gboolean bk_checkpoint_forget (BkCatalog *catalog, const char *vm, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
