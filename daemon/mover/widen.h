/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Makes extents of any lengths into extents of whole blocks: a block that is clean or zero all over stays so; any other is
 * data, because what it lacks has to be read. Pure; one thread.
 */
#pragma once

#include "reader.h"

typedef struct {
  uint64_t block; /* a power of two */
  BkExtentFunc func;
  gpointer user_data;
  uint64_t next;  /* offset of the extent that has to come */
  unsigned kinds; /* a bit for each kind in the block that has begun */
} BkWiden;

/* Takes an extent (a BkExtentFunc whose user_data is a BkWiden), and passes on all blocks that are complete. */
gboolean bk_widen_take (uint64_t offset, uint64_t length, BkExtentKind kind, gpointer widen, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* After the last: passes on the block that the end of the disk has cut. */
gboolean bk_widen_finish (BkWiden *widen, GError **error) G_GNUC_WARN_UNUSED_RESULT;
