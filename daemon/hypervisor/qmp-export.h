/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What QEMU offers to readers: its NBD server and its block exports, and the nodes that only they need. Blocks like
 * the functions of qmp-commands.h, with the same errors.
 */
#pragma once

#include "qmp-client.h"

typedef struct {
  char *id;
  char *type; /* nbd, fuse, ... */
  char *node;
  bool shutting_down;
} BkQmpExport;
void bk_qmp_export_free (BkQmpExport *export);

/* Pure: reads the "return" of query-block-exports; (transfer full), BkQmpExport. What does not look like an export is
 * left out. */
GPtrArray *bk_qmp_exports_read (json_object *reply);
gboolean bk_qmp_query_exports (BkQmpClient *client, GPtrArray **exports, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The VM's one NBD server, on the listening socket @fd (stays the caller's), which QEMU knows as @name meanwhile.
 * FAILED when one runs already: nothing tells whose it is. */
gboolean bk_qmp_nbd_server_start (BkQmpClient *client, int fd, const char *name, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The same at the unix socket @path, which is made: for a storage daemon of ours. */
gboolean bk_qmp_nbd_server_start_at (BkQmpClient *client, const char *path, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Ends all exports and connections of it, whosever they are. UNREACHABLE when there is no answer in time. */
gboolean bk_qmp_nbd_server_stop_within (BkQmpClient *client, unsigned timeout_ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A read-only NBD export of @node under @name. @bitmap of @bitmap_node (disabled, of the same size) becomes the
 * context "qemu:dirty-bitmap:BITMAP"; NULL = none. */
gboolean bk_qmp_add_nbd_export (BkQmpClient *client, const char *id, const char *node, const char *name, const char *bitmap_node, const char *bitmap,
                                GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A read-only export of @node as the file @mountpoint, which exists. It is served in @iothread (an object's ID) and
 * keeps the node there. */
gboolean bk_qmp_add_fuse_export (BkQmpClient *client, const char *id, const char *node, const char *mountpoint, const char *iothread, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Cuts off its readers. It is gone only when query-block-exports no longer has it. */
gboolean bk_qmp_del_export (BkQmpClient *client, const char *id, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Starts the job @job that makes an empty qcow2 image of @size in node @file; it stays "concluded" until dismissed. */
gboolean bk_qmp_create_qcow2 (BkQmpClient *client, const char *job, const char *file, uint64_t size, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A qcow2 node that QEMU never flushes. @backing: an existing node, or NULL. */
gboolean bk_qmp_add_overlay (BkQmpClient *client, const char *node, const char *file, const char *backing, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A node of @size zeroes that takes no space. */
gboolean bk_qmp_add_empty (BkQmpClient *client, const char *node, uint64_t size, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
