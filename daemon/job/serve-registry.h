/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Disks of backups that are served read-only over NBD. Each is a process of its own (nbdkit), so that a slow or hostile
 * client has nothing of the daemon's; it ends with the daemon. An image that is served is held, with those that it stands
 * on, and cannot be deleted until the serve is stopped. A backup of a dedup repository may be: gc leaves the trash alone as
 * long as another process reads. Main thread only.
 */
#pragma once

#include "catalog.h"
#include "event-ring.h"
#include "queue.h"
#include "repository-registry.h"

typedef struct BkServeRegistry BkServeRegistry;

/* @folder: for sockets, made when missing. @queue: what may be deleted is decided there. */
BkServeRegistry *bk_serve_registry_new (BkCatalog *catalog, BkRepositoryRegistry *repositories, BkQueue *queue, BkEventRing *events, const char *folder);
/* Ends all; before the queue goes. */
void bk_serve_registry_free (BkServeRegistry *registry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkServeRegistry, bk_serve_registry_free)

/* Finishes when clients can connect. NOT_FOUND (backup, disk: the message names those that there are), INVALID (the address),
 * CONFLICT (the address is taken, or the backup is being deleted), UNREACHABLE (the repository). */
void bk_serve_registry_start_async (BkServeRegistry *registry, const BkServeRequest *request, GAsyncReadyCallback callback, gpointer user_data);
BkServeInfo *bk_serve_registry_start_finish (BkServeRegistry *registry, GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;
GPtrArray *bk_serve_registry_list (BkServeRegistry *registry); /* BkServeInfo, oldest first; (transfer full) */
/* @id may be an unambiguous prefix. NOT_FOUND. */
BkServeInfo *bk_serve_registry_get (BkServeRegistry *registry, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_serve_registry_stop (BkServeRegistry *registry, const char *id, GError **error) G_GNUC_WARN_UNUSED_RESULT;
