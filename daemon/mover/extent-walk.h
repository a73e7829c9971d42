/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Two lists make the three kinds of extents: what is dirty (a context of an NBD export), and what of that is zero (known to
 * whoever has the content). Both are read from front to back, the second only where the first tells of something.
 */
#pragma once

#include "nbd-status.h"
#include "reader.h"

/* Whether what is at @offset reads as zeroes, and for how many bytes that holds, up to @end. Nobody will ask for what is
 * behind @end soon. */
typedef gboolean (*BkAllocationFunc) (gpointer user_data, uint64_t offset, uint64_t end, bool *zero, uint64_t *length, GError **error);

typedef struct {
  uint64_t size;
  BkNbdStatus *dirty;          /* NULL = all is */
  BkAllocationFunc allocation; /* NULL = nothing is known to be zero */
  gpointer user_data;          /* of it */
} BkExtentWalk;

gboolean bk_extent_walk_run (const BkExtentWalk *walk, BkExtentFunc func, gpointer user_data, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A BkAllocationFunc whose user_data is the BkNbdStatus of base:allocation. */
gboolean bk_extent_walk_allocation (gpointer status, uint64_t offset, uint64_t end, bool *zero, uint64_t *length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
