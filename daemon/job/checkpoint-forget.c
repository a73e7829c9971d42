/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint-forget.h"

#include "checkpoint-fold.h"

gboolean
bk_checkpoint_forget (BkCatalog *catalog, const char *vm, const char *id, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (catalog, vm, error);
  if (checkpoints == NULL)
    return FALSE;
  g_autoptr (GPtrArray) changed = bk_checkpoint_relink (checkpoints, id);
  for (unsigned i = 0; i < changed->len; i++)
    if (!bk_catalog_put_checkpoint (catalog, changed->pdata[i], error))
      return FALSE;
  if (bk_catalog_remove_checkpoint (catalog, id, &failure) || g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&failure));
  return FALSE;
}
