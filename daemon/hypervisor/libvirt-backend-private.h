/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The parts of the libvirt backend: libvirt-backend.c (object, link, inspect), libvirt-backup.c (a run). Below them
 * libvirt-link.c (connections), libvirt-calls.c (what is asked), libvirt-xml.c (in which words) and libvirt-place.c (where QEMU may write).
 */
#pragma once

#include "libvirt-backend.h"
#include "libvirt-calls.h"

typedef struct {
  BkBackend base;
  BkLibvirtLink *link;
  char *uuid;
  bool remote; /* on another machine: it has other files than we */

  GMutex mutex;
  GPtrArray *known;    /* BkCheckpointInfo: see bk_backend_recall() */
  char *running;       /* prefix of our run that has the domain's backup job; NULL = none that we know of */
} BkLibvirtBackend;

/* Notes whose the domain's backup job is. Any thread. */
void bk_libvirt_backend_set_running (BkLibvirtBackend *self, const char *prefix);

/* Its disks as libvirt sees them must be there. UNREACHABLE, CONFLICT when the domain does not run. */
BkLibvirtLook *bk_libvirt_backend_look_active (BkLibvirtBackend *self, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

gboolean bk_libvirt_backup_prepare (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_libvirt_backup_snapshot (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_libvirt_backup_start (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_libvirt_backup_wait (BkBackend *backend, BkRun *run, unsigned timeout_ms, bool *done, GCancellable *cancellable, GError **error);
gboolean bk_libvirt_backup_pause (BkBackend *backend, BkRun *run, bool pause, GError **error);
gboolean bk_libvirt_backup_set_speed (BkBackend *backend, BkRun *run, uint64_t speed, GError **error);
gboolean bk_libvirt_backup_close (BkBackend *backend, BkRun *run, GError **error);
gboolean bk_libvirt_backup_export (BkBackend *backend, BkRun *run, GCancellable *cancellable, GError **error);
gboolean bk_libvirt_backup_check_frozen (BkBackend *backend, BkRun *run, GError **error);
gboolean bk_libvirt_backup_release (BkBackend *backend, BkRun *run, GError **error);
gboolean bk_libvirt_backup_rollback (BkBackend *backend, BkRun *run, bool all, GError **error);
gboolean bk_libvirt_backup_checkpoint_create (BkBackend *backend, BkRun *run, GError **error);
gboolean bk_libvirt_backup_checkpoint_delete (BkBackend *backend, const char *disk, const char *bitmap, const char *parent, bool newest, bool *merged, GError **error);
