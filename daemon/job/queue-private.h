/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Shared by the files of the queue: queue.c (jobs), queue-checkpoint.c (checkpoints without a backup).
 */
#pragma once

#include "claims.h"
#include "job.h"
#include "queue.h"

typedef struct {
  BkJob *job;
  BkClaims *claims;
} BkQueueEntry;

struct BkQueue {
  BkCatalog *catalog;
  BkVmRegistry *vms;
  BkRepositoryRegistry *repositories;
  BkEventRing *events;
  unsigned max_running;
  char *scratch;
  uint64_t scratch_reserve;
  GPtrArray *entries;   /* BkQueueEntry: every job that is not over and settled, oldest first */
  GPtrArray *short_ops; /* BkClaims of checkpoint operations under way; not owned */
  unsigned pending;     /* asynchronous calls that hold a pointer to us */
  bool stopping;
};

/* CONFLICT when @claims meets a job's or an operation's. */
gboolean bk_queue_check_claims (BkQueue *queue, const BkClaims *claims, GError **error);
