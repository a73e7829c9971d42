/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every QMP word that we send or read is in qmp-commands.c (and, for replies about disks, in block-graph.c).
 *
 * Two kinds of functions. bk_qmp_X() run one command and block (worker threads; errors as in qmp-client.h).
 * bk_qmp_call_X() fill in a BkQmpCall for a batch. bk_qmp_action_X() add one action to a transaction, which
 * is a JSON array. All arguments are copied. NULL strings leave the member out.
 */
#pragma once

#include "qmp-client.h"

/* --- batches --- */
BkQmpCall bk_qmp_call_stop (void);
BkQmpCall bk_qmp_call_cont (void);
/* Attaches node @node to the guest device @qdev, while it runs. @qdev is what query-block says: a device's ID or
 * its QOM path. */
BkQmpCall bk_qmp_call_set_drive (const char *qdev, const char *node);

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
/* An NBD client node from a URI nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH; always with an
 * open-timeout of 10 s, without reconnect. INVALID when the URI is none of these. */
gboolean bk_qmp_add_nbd (BkQmpClient *client, const char *node, const char *uri, unsigned flags, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_nbd_uri_is_valid (const char *uri, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* copy-before-write with on-cbw-error=break-snapshot and cbw-timeout 30. */
gboolean bk_qmp_add_filter (BkQmpClient *client, const char *node, const char *file, const char *scratch, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_add_snapshot (BkQmpClient *client, const char *node, const char *filter, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* blockdev-reopen of a format node read-only: flushes its metadata and, unlike blockdev-del, says when that
 * fails. */
gboolean bk_qmp_reopen_read_only (BkQmpClient *client, const char *driver, const char *node, const char *file, unsigned flags, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_del_node (BkQmpClient *client, const char *node, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* UNREACHABLE when there is no answer in time; the command may still come to its end. */
gboolean bk_qmp_del_node_within (BkQmpClient *client, const char *node, unsigned timeout_ms, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- transactions --- */
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

/* --- single bitmaps --- */
gboolean bk_qmp_bitmap_remove (BkQmpClient *client, const char *node, const char *bitmap, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- jobs --- */
typedef struct {
  char *id;
  char *status; /* created running paused ready standby waiting pending aborting concluded null */
  char *error;  /* NULL = none; only told when concluded */
  uint64_t current, total; /* progress in the job's own units */
  bool user_paused;        /* paused by us, not by a drain */
  char *io_status;         /* ok, failed, nospace; NULL unknown */
} BkQmpJob;
void bk_qmp_job_free (BkQmpJob *job);
/* Jobs whose ID starts with @prefix, from query-jobs and query-block-jobs. (transfer container+full) */
gboolean bk_qmp_query_jobs_of (BkQmpClient *client, const char *prefix, GPtrArray **jobs, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_cancel (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_dismiss (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_finalize (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_pause (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_resume (BkQmpClient *client, const char *job, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_qmp_job_set_speed (BkQmpClient *client, const char *job, uint64_t speed, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- out of band: the only way out when QEMU's main loop waits for a hung NBD server --- */
/* Closes the connections of those NBD nodes in query-yank that start with @prefix. It does not help against a
 * server on a unix socket that has stopped reading (seen with 7.2): QEMU's write is not woken then, and only the
 * end of that server frees it. A TCP socket, and a server that reads but does not answer, are let go. */
gboolean bk_qmp_yank_nodes (BkQmpClient *client, const char *prefix, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- features, by schema --- */
typedef struct {
  bool snapshot_push;     /* copy-before-write with on-cbw-error and cbw-timeout, and snapshot-access */
  bool backup_perf;       /* x-perf of blockdev-backup */
  bool reopen;            /* blockdev-reopen */
  bool nbd_open_timeout;
  bool bitmap_merge;      /* block-dirty-bitmap-merge in transactions */
  bool yank;
} BkQmpFeatures;

/* Pure: reads the "return" of query-qmp-schema. */
void bk_qmp_features_read (json_object *schema, BkQmpFeatures *features);
/* Asks once per connection and keeps the answer. Worker threads. */
gboolean bk_qmp_features (BkQmpClient *client, BkQmpFeatures *features, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
