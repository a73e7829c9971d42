/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Several changes in QEMU at one instant, all or none. bk_qmp_action_X() adds one action to a JSON array, for
 * bk_qmp_transaction(). All arguments are copied; NULL strings leave the member out.
 */
#pragma once

#include "qmp-client.h"

typedef struct {
  const char *job;    /* job ID */
  const char *device; /* node to read */
  const char *target; /* node to write */
  const char *sync;   /* full, top, none, bitmap */
  const char *bitmap; /* for sync=bitmap; the mode is always "never" */
  const char *filter; /* name of the job's own filter node */
  uint64_t speed;
  bool compress;
  const char *on_source_error; /* NULL = report; "ignore" is not to be had: QEMU would retry for ever */
  const char *on_target_error;
  unsigned max_workers; /* x-perf, where the feature exists; 0 = leave out */
  uint64_t max_chunk;
} BkQmpBackup;

void bk_qmp_action_backup (json_object *actions, const BkQmpBackup *backup);
void bk_qmp_action_bitmap_add (json_object *actions, const char *node, const char *bitmap, bool persistent, bool disabled);
void bk_qmp_action_bitmap_remove (json_object *actions, const char *node, const char *bitmap);
void bk_qmp_action_bitmap_enable (json_object *actions, const char *node, const char *bitmap);
void bk_qmp_action_bitmap_disable (json_object *actions, const char *node, const char *bitmap);
/* Adds up @sources (bitmaps of @source_node) into @target of @node. @sources must not be empty: QEMU 7.2
 * crashes on an empty list; asserted here. */
void bk_qmp_action_bitmap_merge (json_object *actions, const char *node, const char *target, const char *source_node, const char *const *sources);
/* Runs @actions (transfer full), all or none. An empty list is success without a word to QEMU. */
gboolean bk_qmp_transaction (BkQmpClient *client, json_object *actions, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The same as a part of a batch; @actions must not be empty. */
BkQmpCall bk_qmp_call_transaction (json_object *actions);

/* Outside of a transaction. Worker threads. */
gboolean bk_qmp_bitmap_remove (BkQmpClient *client, const char *node, const char *bitmap, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
