/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a QEMU can do, by its schema and never by its version.
 */
#pragma once

#include "qmp-client.h"

typedef struct {
  bool snapshot_push;     /* copy-before-write with on-cbw-error and cbw-timeout, and snapshot-access */
  bool backup_perf;       /* x-perf of blockdev-backup */
  bool reopen;            /* blockdev-reopen */
  bool nbd_open_timeout;
  bool bitmap_merge;      /* block-dirty-bitmap-merge in transactions */
  bool yank;
  bool pull;              /* NBD exports with dirty bitmaps, and images made by QEMU itself */
  bool fuse_export;
} BkQmpFeatures;

/* Pure: reads the "return" of query-qmp-schema. */
void bk_qmp_features_read (json_object *schema, BkQmpFeatures *features);
/* Asks once per connection and keeps the answer. Worker threads. */
gboolean bk_qmp_features (BkQmpClient *client, BkQmpFeatures *features, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
