/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The parts of the QMP backend: qmp-backend.c (object, link, inspect), qmp-common.c (what all need), qmp-push.c (up to the point in time
 * and the begin of the copy), qmp-copy.c (while it copies), qmp-pull.c (what a pull does instead), qmp-nbd.c (the
 * server that pulls share), qmp-sweep.c (the way back).
 */
#pragma once

#include "backend.h"
#include "block-graph.h"
#include "qmp-commands.h"
#include "qmp-features.h"
#include "qmp-job.h"
#include "qmp-transaction.h"

typedef struct {
  BkBackend base;
  BkQmpClient *client;
  bool storage_daemon; /* it is one of ours, and no VM: it opens files by itself, and may be killed */
  /* Held over each sequence that changes the block graph or drains it, so that two jobs of one VM do not meet
   * in the middle of one. Never held while a copy runs. */
  GMutex graph;

  /* Sockets of NBD targets, by node name: our duplicates of what QEMU has, to cut it loose from a server that
   * hangs. They are gone after a restart of the daemon; then yank must do, which cannot free a unix socket. */
  GMutex sockets_lock;
  GHashTable *sockets; /* char * to GSocketConnection */
} BkQmpBackend;

/* Cuts all NBD targets of @run off; its jobs fail. @why goes to the log. Any thread, without the graph lock. */
void bk_qmp_backend_cut_targets (BkQmpBackend *self, const BkRun *run, const char *why);
/* Keeps @connection (transfer full) as that of @node; drops those of @run. */
void bk_qmp_backend_keep_socket (BkQmpBackend *self, const char *node, GSocketConnection *connection);
void bk_qmp_backend_drop_sockets (BkQmpBackend *self, const BkRun *run);

/* The iothread (QOM path) of the guest device @qdev or of the controller that it is on; *@iothread is NULL when there
 * is none. (transfer full) */
gboolean bk_qmp_backend_find_iothread (BkQmpBackend *self, const char *qdev, char **iothread, GCancellable *cancellable, GError **error);

/* The same for all @disks (BkDisk): sets their member. */
gboolean bk_qmp_backend_add_iothreads (BkQmpBackend *self, GPtrArray *disks, GCancellable *cancellable, GError **error);

/* The QEMU that was connected last is no more. Any thread. */
bool bk_qmp_backend_vm_has_ended (BkQmpBackend *self);
/* Waits some seconds for a connection that is just coming up; when QEMU has ended only a moment, for the next one.
 * UNREACHABLE, CANCELLED. Worker threads. */
gboolean bk_qmp_backend_wait_ready (BkQmpBackend *self, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* All three queries of the block graph. */
typedef struct {
  BkBlockReplies replies;
} BkQmpGraph;
gboolean bk_qmp_graph_fetch (BkQmpBackend *self, BkQmpGraph *graph, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_qmp_graph_clear (BkQmpGraph *graph);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (BkQmpGraph, bk_qmp_graph_clear)

gboolean bk_qmp_push_try_scratch (BkBackend *backend, const char *folder, bool *tried, GError **error);
gboolean bk_qmp_push_prepare (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_qmp_push_snapshot (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_qmp_push_start (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);

/* Makes node @node of the file behind @fd, which stays the caller's: QEMU needs no right to the path, and an unlinked
 * file works as well. */
gboolean bk_qmp_push_add_fd_file (BkQmpBackend *self, int fd, const char *driver, const char *node, const char *opaque, GCancellable *cancellable, GError **error);

/* The scratch of a pull. */
gboolean bk_qmp_pull_add_scratch (BkQmpBackend *self, const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error);
gboolean bk_qmp_pull_export (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_qmp_pull_check_frozen (BkBackend *backend, BkRun *run, GError **error);
/* Why no disk of this QEMU can be pulled, in words; NULL when it can. (transfer full) */
char *bk_qmp_pull_obstacle (const BkQmpFeatures *features);
/* Why @disk cannot be, though others can; @status: that of the VM; @pid: its QEMU, 0 = not known. (transfer full) */
char *bk_qmp_pull_disk_obstacle (const BkQmpFeatures *features, const char *status, pid_t pid, const BkDisk *disk);

/* Ends what readers see of @run. With the graph lock held. */
gboolean bk_qmp_pull_end (BkQmpBackend *self, BkRun *run, GError **error);
/* What can be done of that when the VM does not answer. */
void bk_qmp_pull_end_without_vm (BkRun *run);

gboolean bk_qmp_copy_wait (BkBackend *backend, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable, GError **error);
gboolean bk_qmp_copy_pause (BkBackend *backend, BkRun *run, bool pause, GError **error);
gboolean bk_qmp_copy_set_speed (BkBackend *backend, BkRun *run, uint64_t speed, GError **error);
gboolean bk_qmp_copy_close (BkBackend *backend, BkRun *run, GError **error);

/* The actions by which one bitmap of @disk goes; its bits go to @parent where there is a sound one. @node: that of the disk. NULL: it is
 * not there. Pure. (transfer full) */
json_object *bk_qmp_sweep_fold (const BkDisk *disk, const char *node, const char *bitmap, const char *parent, bool newest, bool *merged);
gboolean bk_qmp_sweep_release (BkBackend *backend, BkRun *run, GError **error);
gboolean bk_qmp_sweep_rollback (BkBackend *backend, BkRun *run, bool all, GError **error);
gboolean bk_qmp_sweep_checkpoint_create (BkBackend *backend, BkRun *run, GError **error);
gboolean bk_qmp_sweep_checkpoint_delete (BkBackend *backend, const char *disk, const char *bitmap, const char *parent, bool newest, bool *merged, GError **error);
