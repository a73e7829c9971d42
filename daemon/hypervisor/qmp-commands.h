/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The QMP words that we send or read are in qmp-commands.c, qmp-transaction.c, qmp-job.c, qmp-export.c and
 * qmp-features.c, and, for replies about disks, in block-graph.c; qmp-link.c has those of the handshake, and of events.
 * Nobody else has any, but gateway.c, which tells another program the same words as options.
 *
 * Two kinds of functions. bk_qmp_X() run one command and block (worker threads; errors as in qmp-client.h).
 * bk_qmp_call_X() fill in a BkQmpCall for a batch. All arguments are copied. NULL strings leave the member out.
 */
#pragma once

#include "qmp-client.h"

/* --- batches --- */
BkQmpCall bk_qmp_call_stop (void);
BkQmpCall bk_qmp_call_cont (void);
/* Attaches node @node to the guest device @qdev, while it runs. @qdev is what query-block says: a device's ID or
 * its QOM path. */
BkQmpCall bk_qmp_call_set_drive (const char *qdev, const char *node);
/* As bk_qmp_add_filter() and bk_qmp_add_snapshot(). */
BkQmpCall bk_qmp_call_add_filter (const char *node, const char *file, const char *scratch);
BkQmpCall bk_qmp_call_add_snapshot (const char *node, const char *filter);

/* An image of this machine, with the images that its header names below it when it is only read.
 * Read, it is opened so that everybody else may do with it what they like; written, nobody else may, and the images below it are left alone. */
typedef struct {
  const char *node;
  const char *format; /* qcow2, raw, ... */
  const char *path;
  bool device; /* a block device */
  bool writable;
} BkQmpImage;
BkQmpCall bk_qmp_call_add_image (const BkQmpImage *image);
BkQmpCall bk_qmp_call_del_node (const char *node);

/* --- queries: @result (transfer full) is the "return" value --- */
gboolean bk_qmp_query (BkQmpClient *client, const char *command, json_object **result, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
#define BK_QMP_QUERY_BLOCK "query-block"
#define BK_QMP_QUERY_BLOCKSTATS "query-blockstats"
#define BK_QMP_QUERY_BLOCK_JOBS "query-block-jobs"
#define BK_QMP_QUERY_JOBS "query-jobs"
#define BK_QMP_QUERY_EXPORTS "query-block-exports"
#define BK_QMP_QUERY_IOTHREADS "query-iothreads"
#define BK_QMP_QUERY_SCHEMA "query-qmp-schema"
/* query-named-block-nodes with flat: true */
gboolean bk_qmp_query_nodes (BkQmpClient *client, json_object **result, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* @size: virtual size of @node in bytes. NOT_FOUND when there is no such node. */
gboolean bk_qmp_query_size (BkQmpClient *client, const char *node, uint64_t *size, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* @status: (out) (transfer full) "running", "paused", ... */
gboolean bk_qmp_query_status (BkQmpClient *client, char **status, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* QOM property as a string; *@value NULL when it does not exist or is empty. @path: a QOM path or a device's ID. */
gboolean bk_qmp_qom_get_string (BkQmpClient *client, const char *path, const char *property, char **value, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- VM --- */
gboolean bk_qmp_cont (BkQmpClient *client, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_set_drive (BkQmpClient *client, const char *qdev, const char *node, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- file descriptors --- */
/* Hands @fds over as one fdset; *@fdset is its number and the file name is "/dev/fdset/NUMBER". QEMU drops a
 * set that nothing uses when the last monitor client leaves. */
gboolean bk_qmp_add_fd (BkQmpClient *client, int fd, const char *opaque, int64_t *fdset, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_remove_fd (BkQmpClient *client, int64_t fdset, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Removes all sets of descriptors whose @opaque starts with @prefix. */
gboolean bk_qmp_remove_fds_of (BkQmpClient *client, const char *prefix, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- nodes --- */
typedef enum {
  BK_QMP_CACHE_NO_FLUSH = 1 << 0, /* QEMU never fsyncs this node: we do it ourselves, and see the error */
  BK_QMP_CACHE_DIRECT = 1 << 1,
  BK_QMP_READ_ONLY = 1 << 2,
  BK_QMP_DETECT_ZEROES = 1 << 3,
} BkQmpNodeFlags;

/* @driver: "file" or "host_device". */
gboolean bk_qmp_add_file (BkQmpClient *client, const char *driver, const char *node, const char *filename, unsigned flags, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A format node ("raw", "qcow2") over node @file; qcow2 with "backing": null. */
gboolean bk_qmp_add_format (BkQmpClient *client, const char *driver, const char *node, const char *file, unsigned flags, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* A raw node that shows the first @size bytes of @file, which may be a larger device. */
gboolean bk_qmp_add_raw (BkQmpClient *client, const char *node, const char *file, uint64_t size, unsigned flags, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* An NBD client node over a connected socket (stays the caller's, who can cut QEMU loose by shutdown(2) on it); with
 * an open-timeout of 10 s, and no reconnect. */
gboolean bk_qmp_add_nbd (BkQmpClient *client, const char *node, int socket, const char *export_name, unsigned flags, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The same for a storage daemon of ours: it connects by itself, to a unix socket @path or to @host and @port. */
gboolean bk_qmp_add_nbd_at (BkQmpClient *client, const char *node, const char *path, const char *host, unsigned port, const char *export_name, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_add_image (BkQmpClient *client, const BkQmpImage *image, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* copy-before-write with on-cbw-error=break-snapshot and cbw-timeout 30. */
gboolean bk_qmp_add_filter (BkQmpClient *client, const char *node, const char *file, const char *scratch, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_add_snapshot (BkQmpClient *client, const char *node, const char *filter, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* blockdev-reopen of a format node read-only: flushes its metadata and, unlike blockdev-del, says when that
 * fails. */
gboolean bk_qmp_reopen_read_only (BkQmpClient *client, const char *driver, const char *node, const char *file, unsigned flags, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_del_node (BkQmpClient *client, const char *node, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* UNREACHABLE when there is no answer in time; the command may still come to its end. */
gboolean bk_qmp_del_node_within (BkQmpClient *client, const char *node, unsigned timeout_ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- out of band: the only way out when QEMU's main loop waits for a hung NBD server --- */
/* Closes the connections of those NBD nodes in query-yank that start with @prefix. It does not help against a
 * server on a unix socket that has stopped reading (seen with 7.2): QEMU's write is not woken then, and only the
 * end of that server frees it. A TCP socket, and a server that reads but does not answer, are let go. */
gboolean bk_qmp_yank_nodes (BkQmpClient *client, const char *prefix, GError **error) G_GNUC_WARN_UNUSED_RESULT;
