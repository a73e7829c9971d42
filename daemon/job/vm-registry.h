/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The VMs that we look after: rows of the catalog, each with a live backend. Main thread only.
 */
#pragma once

#include "backend.h"
#include "catalog.h"
#include "event-ring.h"
#include "libvirt-link.h"

typedef struct BkVmRegistry BkVmRegistry;

/* A VM: valid as long as it is registered; jobs hold a reference. Its backend may be used by workers. */
typedef struct BkVm BkVm;
BkVm *bk_vm_ref (BkVm *vm);
void bk_vm_unref (BkVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkVm, bk_vm_unref)
const char *bk_vm_name (BkVm *vm);
BkBackend *bk_vm_backend (BkVm *vm);
/* The class of one of its disks, or NULL; (transfer none). Main thread. */
const char *bk_vm_class_of (BkVm *vm, const BkDisk *disk);
/* Tells its backend which checkpoints there should be, for the next inspection. Main thread. */
void bk_vm_recall (BkVm *vm);
/* The address of its guest agent (agent.h), or NULL; (transfer full). Main thread. */
char *bk_vm_agent (BkVm *vm);

/* Called when the link to a VM changes; the queue settles old jobs when it is ready. */
typedef void (*BkVmNotify) (BkVm *vm, BkLink link, const char *event, gpointer user_data);

/* @libvirt: NULL when there are no domains. */
BkVmRegistry *bk_vm_registry_new (BkCatalog *catalog, BkEventRing *events, BkLibvirt *libvirt);
void bk_vm_registry_free (BkVmRegistry *registry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkVmRegistry, bk_vm_registry_free)
void bk_vm_registry_set_notify (BkVmRegistry *registry, BkVmNotify notify, gpointer user_data);

/* As an event with BK_LINK_DOWN: it was looked at, and is shut off. */
#define BK_VM_SHUT_OFF "SHUT_OFF"

/* Before load: where VMs that are shut off can have sockets. Without it they are just unreachable. */
void bk_vm_registry_set_folder (BkVmRegistry *registry, const char *folder);

/* Makes a backend for every VM of the catalog, and connects. */
gboolean bk_vm_registry_load (BkVmRegistry *registry, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* @vm: name, qmp or libvirt, domain (its name or UUID; NULL = the VM's name), agent, classes. INVALID (name, relative path, ...), CONFLICT
 * (exists). A VM that does not run yet may be added: it is connected to as soon as its socket is there. A domain must be
 * there, running or not: UNREACHABLE, NOT_FOUND (the message names those that there are). */
void bk_vm_registry_add_async (BkVmRegistry *registry, const BkVmInfo *vm, GAsyncReadyCallback callback, gpointer user_data);
gboolean bk_vm_registry_add_finish (BkVmRegistry *registry, GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The connection to libvirt at @uri: (transfer full). INVALID. */
BkLibvirtLink *bk_vm_registry_get_link (BkVmRegistry *registry, const char *uri, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The domains that libvirt at @uri has: BkDomainInfo, by name; (transfer full). UNREACHABLE, INVALID. */
void bk_vm_registry_discover_async (BkVmRegistry *registry, const char *uri, GAsyncReadyCallback callback, gpointer user_data);
GPtrArray *bk_vm_registry_discover_finish (BkVmRegistry *registry, GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* NOT_FOUND. The caller has checked that no job is left (bk_queue_remove_vm()). */
gboolean bk_vm_registry_remove (BkVmRegistry *registry, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* (transfer full); NOT_FOUND names the known ones. */
BkVm *bk_vm_registry_get (BkVmRegistry *registry, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* BkVmInfo without disks and jobs, by name; (transfer full). */
GPtrArray *bk_vm_registry_list (BkVmRegistry *registry);
BkVmInfo *bk_vm_registry_info (BkVmRegistry *registry, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Asks the VM for its disks (worker thread inside). Finish returns BkVmInfo with disks; when the VM cannot be
 * reached it has none, and state and reason tell why. NOT_FOUND. */
void bk_vm_registry_show_async (BkVmRegistry *registry, const char *name, GAsyncReadyCallback callback, gpointer user_data);
BkVmInfo *bk_vm_registry_show_finish (BkVmRegistry *registry, GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;
