/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The job kind "gc": takes back the space of what no backup of a repository of type dedup leads to any more. May run beside
 * backups and restores. Its bytes are those freed, or with dry_run those that would be. Begun again after a
 * restart: what was freed by then stays freed. Main thread.
 */
#pragma once

#include "job.h"
#include "store.h"

extern const BkJobKind bk_gc_job_kind;

/* @grace_seconds: how long a deleted backup can be had back. @store is referenced. */
gpointer bk_gc_job_data_new (BkStore *store, uint64_t grace_seconds, bool dry_run);
