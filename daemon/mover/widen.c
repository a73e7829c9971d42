/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "widen.h"

static BkExtentKind
kind_of_block (unsigned kinds)
{
  if (kinds == 1u << BK_EXTENT_CLEAN)
    return BK_EXTENT_CLEAN;
  return kinds == 1u << BK_EXTENT_ZERO ? BK_EXTENT_ZERO : BK_EXTENT_DATA;
}

/* The block that ends at widen->next. */
static gboolean
pass_block (BkWiden *widen, GError **error)
{
  uint64_t start = (widen->next - 1) & ~(widen->block - 1);
  BkExtentKind kind = kind_of_block (widen->kinds);
  widen->kinds = 0;
  return widen->func (start, widen->next - start, kind, widen->user_data, error);
}

/* At most to the end of the block that has begun; returns how much of @length that is. */
static uint64_t
add_to_block (BkWiden *widen, uint64_t length, BkExtentKind kind)
{
  uint64_t taken = MIN (length, widen->block - (widen->next & (widen->block - 1)));
  widen->kinds |= 1u << kind;
  widen->next += taken;
  return taken;
}

gboolean
bk_widen_take (uint64_t offset, uint64_t length, BkExtentKind kind, gpointer user_data, GError **error)
{
  BkWiden *widen = user_data;
  g_assert (offset == widen->next);
  while (length > 0) {
    uint64_t inside = widen->next & (widen->block - 1);
    uint64_t whole = length & ~(widen->block - 1);
    if (inside == 0 && whole > 0) {
      if (!widen->func (widen->next, whole, kind, widen->user_data, error))
        return FALSE;
      widen->next += whole;
      length -= whole;
      continue;
    }
    length -= add_to_block (widen, length, kind);
    if ((widen->next & (widen->block - 1)) == 0 && !pass_block (widen, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
bk_widen_finish (BkWiden *widen, GError **error)
{
  return widen->kinds == 0 || pass_block (widen, error);
}
