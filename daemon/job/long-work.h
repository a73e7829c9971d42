/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The progress of work that a repository does in one call: the worker tells it, the main thread shows it.
 */
#pragma once

#include "bk-types.h"

typedef struct {
  uint64_t done, total; /* atomic */
} BkLongWork;

/* A BkRepositoryProgress; @work: BkLongWork. Any thread. */
void bk_long_work_tell (uint64_t done, uint64_t total, gpointer work);
/* As bytes of @info. */
void bk_long_work_show (BkLongWork *work, BkJobInfo *info);
