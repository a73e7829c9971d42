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
  unsigned settle_timer;   /* an undo that failed is tried again */
  unsigned settle_seconds; /* the next pause before that */
};

/* CONFLICT when @claims meets a job's or an operation's. */
gboolean bk_queue_check_claims (BkQueue *queue, const BkClaims *claims, GError **error);

/* Finishes what an earlier attempt to make or to delete a checkpoint of @vm has left half done. */
void bk_queue_settle_checkpoints (BkQueue *queue, const char *vm);
