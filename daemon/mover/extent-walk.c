/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "extent-walk.h"

/* Flags of the contexts in the NBD protocol and in QEMU's. */
#define ALLOCATION_ZERO 2u
#define BITMAP_DIRTY 1u

/* A gap between two dirty extents for which it is worthwhile to ask once more, rather than to have the server look it
 * through for data and zeroes. */
#define GAP (UINT64_C (64) * 1024 * 1024)

gboolean
bk_extent_walk_allocation (gpointer status, uint64_t offset, uint64_t end, bool *zero, uint64_t *length, GError **error)
{
  uint32_t flags = 0;
  if (!bk_nbd_status_get (status, offset, end, &flags, length, error))
    return FALSE;
  *zero = (flags & ALLOCATION_ZERO) != 0; /* a hole that is not said to be zero has to be read */
  return TRUE;
}

/* One dirty extent, up to @end; @reach is how far others follow. */
static gboolean
walk_content (const BkExtentWalk *walk, uint64_t offset, uint64_t end, uint64_t reach, BkExtentFunc func, gpointer user_data, GError **error)
{
  while (offset < end) {
    bool zero = false;
    uint64_t length = end - offset;
    if (walk->allocation && !walk->allocation (walk->user_data, offset, reach, &zero, &length, error))
      return FALSE;
    length = MIN (length, end - offset);
    if (!func (offset, length, zero ? BK_EXTENT_ZERO : BK_EXTENT_DATA, user_data, error))
      return FALSE;
    offset += length;
  }
  return TRUE;
}

static gboolean
walk_dirty (const BkExtentWalk *walk, BkExtentFunc func, gpointer user_data, GError **error)
{
  uint64_t reach = 0; /* looked up once for all dirty extents before it, or the walk would not be linear */
  for (uint64_t offset = 0, length = 0; offset < walk->size; offset += length) {
    uint32_t flags = 0;
    gboolean ok = FALSE;
    if (!bk_nbd_status_get (walk->dirty, offset, walk->size, &flags, &length, error))
      return FALSE;
    if (flags & BITMAP_DIRTY) {
      if (offset + length > reach)
        reach = MIN (bk_nbd_status_reach (walk->dirty, BITMAP_DIRTY, GAP), walk->size);
      ok = walk_content (walk, offset, offset + length, reach, func, user_data, error);
    } else {
      ok = func (offset, length, BK_EXTENT_CLEAN, user_data, error);
    }
    if (!ok)
      return FALSE;
  }
  return TRUE;
}

gboolean
bk_extent_walk_run (const BkExtentWalk *walk, BkExtentFunc func, gpointer user_data, GError **error)
{
  if (walk->dirty)
    return walk_dirty (walk, func, user_data, error);
  return walk_content (walk, 0, walk->size, walk->size, func, user_data, error);
}
