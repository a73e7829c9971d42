/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cancel.h"

#include "bk-error.h"

gboolean
bk_cancel_check (GCancellable *cancellable, GError **error)
{
  if (!g_cancellable_is_cancelled (cancellable))
    return TRUE;
  g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
  return FALSE;
}
