/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vm-registry.h"

#include "export-folder.h"
#include "libvirt-backend.h"
#include "libvirt-calls.h"

#include <string.h>
#include <sys/un.h>

/* QEMU does not tell when a disk is plugged in; one that is gone from record when the VM is shut off is not backed up. */
#define LOOK_SECONDS 600

/* For looks at disks to end: a libvirtd may hang. */
#define END_TIMEOUT_US (15 * G_USEC_PER_SEC)

#define PATH_LIMIT (sizeof (((struct sockaddr_un *)NULL)->sun_path) - 1)

struct BkVm {
  gatomicrefcount refs;
  GThread *home;          /* the thread that may free the backend */
  BkVmRegistry *registry; /* NULL once it is not registered any more */
  BkVmInfo *kept;         /* what the catalog keeps of it */
  BkBackend *backend;
  BkLink link;            /* as last notified */
  char *run_state;        /* of the guest, when an inspection or an event has told; "shut off" */
  bool looking;           /* a look at its disks is under way that nobody has asked for */
  BkLink looked;          /* as the link was when it began */
  int *looks;             /* the registry's */
};

struct BkVmRegistry {
  BkCatalog *catalog;
  BkEventRing *events;
  BkLibvirt *libvirt;
  char *folder; /* NULL: a VM that is shut off cannot be backed up */
  unsigned timer;
  GCancellable *ending; /* ends looks at disks */
  int *looks; /* how many are under way in workers; an atomic rc box, as these may outlive us */
  GPtrArray *vms; /* BkVm, by name */
  BkVmNotify notify;
  gpointer notify_data;
};

/* --- a VM --- */

static gboolean
vm_free (gpointer data)
{
  BkVm *vm = data;
  bk_backend_free (vm->backend);
  bk_vm_info_free (vm->kept);
  g_atomic_rc_box_release (vm->looks);
  g_free (vm->run_state);
  g_free (vm);
  return G_SOURCE_REMOVE;
}

BkVm *
bk_vm_ref (BkVm *vm)
{
  g_atomic_ref_count_inc (&vm->refs);
  return vm;
}

/* A worker may be the last to let go; the backend is for the main thread to free. */
void
bk_vm_unref (BkVm *vm)
{
  if (!g_atomic_ref_count_dec (&vm->refs))
    return;
  if (vm->home == g_thread_self ())
    vm_free (vm);
  else
    g_idle_add (vm_free, vm);
}

const char *
bk_vm_name (BkVm *vm)
{
  return vm->kept->name;
}

BkBackend *
bk_vm_backend (BkVm *vm)
{
  return vm->backend;
}

void
bk_vm_recall (BkVm *vm)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) checkpoints = vm->registry ? bk_catalog_list_checkpoints (vm->registry->catalog, vm->kept->name, &error) : NULL;
  if (checkpoints)
    bk_backend_recall (vm->backend, checkpoints);
  else if (error)
    g_warning ("VM '%s': %s", vm->kept->name, error->message);
}

char *
bk_vm_agent (BkVm *vm)
{
  if (vm->kept->libvirt)
    return g_strdup_printf ("libvirt:%s@%s", vm->kept->uuid, vm->kept->libvirt);
  return vm->kept->agent ? g_strconcat ("unix:", vm->kept->agent, NULL) : NULL;
}

static const char *
state_of (BkLink link, const char *run_state)
{
  switch (link) {
  case BK_LINK_CONNECTING:
    return "connecting";
  case BK_LINK_BUSY:
    return "busy";
  case BK_LINK_DOWN:
    return run_state ? run_state : "unreachable";
  case BK_LINK_READY:
    /* The guest's own state is known only when somebody asked or it changed. */
    return run_state ? run_state : "connected";
  }
  return "unreachable";
}

/* What is known without asking the VM. */
static BkVmInfo *
vm_info (BkVm *vm)
{
  BkVmInfo *info = bk_struct_copy (&bk_vm_info_struct, vm->kept);
  g_autofree char *reason = NULL;
  BkLink link = bk_backend_link (vm->backend, &reason, &info->qemu_version);
  info->state = g_strdup (state_of (link, vm->run_state));
  if (link != BK_LINK_READY && reason && reason[0] && vm->run_state == NULL)
    info->reason = g_steal_pointer (&reason);
  return info;
}

static void
set_run_state (BkVm *vm, const char *run_state)
{
  if (g_strcmp0 (vm->run_state, run_state) == 0)
    return;
  g_free (vm->run_state);
  vm->run_state = g_strdup (run_state);
}

/* --- events --- */

static void
publish (BkVmRegistry *registry, BkVm *vm, const char *state)
{
  g_autoptr (BkVmInfo) info = vm_info (vm);
  if (state) {
    g_free (info->state);
    info->state = g_strdup (state);
  }
  bk_event_ring_publish (registry->events, "vm", info->name, NULL, bk_struct_to_json (&bk_vm_info_struct, info));
}

/* The run state that an event of QMP or libvirt means; NULL for events that do not tell. */
static const char *
run_state_of_event (const char *event)
{
  static const struct {
    const char *event, *state;
  } table[] = {
    { "STOP", "paused" },       { "RESUME", "running" },           { "SHUTDOWN", "shutdown" },
    { "SUSPEND", "suspended" }, { "WAKEUP", "running" },           { "GUEST_PANICKED", "guest-panicked" },
    { "started", "running" },   { "resumed", "running" },          { "paused", "paused" },
    { "stopped", "shut off" },  { "crashed", "crashed" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++)
    if (g_strcmp0 (table[i].event, event) == 0)
      return table[i].state;
  return NULL;
}

/* --- looks at the disks --- */

static void look_by_itself (BkVm *vm);

static void
note_state (BkVm *vm, const BkVmState *state)
{
  if (state->offline != (vm->link == BK_LINK_DOWN))
    return; /* it was started or ended meanwhile */
  bool news = state->offline && g_strcmp0 (vm->run_state, state->status) != 0;
  set_run_state (vm, state->status);
  if (news)
    publish (vm->registry, vm, NULL);
}

static void
look (GTask *task, gpointer source G_GNUC_UNUSED, gpointer data, GCancellable *cancellable)
{
  GError *error = NULL;
  BkVmState *state = bk_backend_inspect (bk_vm_backend (data), cancellable, &error);
  if (state)
    g_task_return_pointer (task, state, (GDestroyNotify)bk_vm_state_free);
  else
    g_task_return_error (task, error);
  g_atomic_int_add (((BkVm *)data)->looks, -1);
}

/* @task holds the VM. */
static void
begin_look (BkVm *vm, GTask *task)
{
  g_atomic_int_inc (vm->looks);
  g_task_run_in_thread (task, look);
}

static void
on_looked (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkVm) vm = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkVmState) state = g_task_propagate_pointer (G_TASK (result), &error);
  vm->looking = false;
  if (state == NULL)
    g_debug ("VM '%s': %s", vm->kept->name, error->message);
  if (vm->link != vm->looked) /* it came or went meanwhile, and that is what counts */
    look_by_itself (vm);
  if (state == NULL || vm->registry == NULL)
    return;
  note_state (vm, state);
  if (state->offline && vm->registry->notify)
    vm->registry->notify (vm, vm->link, BK_VM_SHUT_OFF, vm->registry->notify_data);
}

/* When it comes, so that its disks are on record whenever it goes; and when it goes, so that what it has left behind is
 * tidied up. */
static void
look_by_itself (BkVm *vm)
{
  bool is_there = vm->link == BK_LINK_READY || vm->link == BK_LINK_DOWN;
  if (vm->registry == NULL || vm->registry->folder == NULL || vm->kept->libvirt || vm->looking || !is_there)
    return;
  vm->looking = true;
  vm->looked = vm->link;
  g_autoptr (GTask) task = g_task_new (NULL, vm->registry->ending, on_looked, bk_vm_ref (vm));
  g_task_set_task_data (task, bk_vm_ref (vm), (GDestroyNotify)bk_vm_unref);
  begin_look (vm, task);
}

static void
on_backend_news (BkBackend *backend G_GNUC_UNUSED, BkLink link, const char *event, gpointer user_data)
{
  g_autoptr (BkVm) vm = bk_vm_ref (user_data);
  BkVmRegistry *registry = vm->registry;
  const char *run_state = run_state_of_event (event);
  bool changed = link != vm->link || (run_state && g_strcmp0 (run_state, vm->run_state) != 0);
  if (registry == NULL)
    return;
  bool other = link != vm->link;
  vm->link = link;
  if (link != BK_LINK_READY && other)
    set_run_state (vm, NULL);
  else if (link == BK_LINK_READY && (run_state || other))
    set_run_state (vm, run_state);
  if (changed)
    publish (registry, vm, NULL);
  if (registry->notify)
    registry->notify (vm, link, event, registry->notify_data);
  if (other)
    look_by_itself (vm);
}

/* --- the registry --- */

/* Ends the VM's part in the registry; others may still hold it. */
static void
withdraw (gpointer data)
{
  BkVm *vm = data;
  vm->registry = NULL;
  bk_backend_set_notify (vm->backend, NULL, NULL);
  bk_backend_disconnect (vm->backend);
  bk_vm_unref (vm);
}

BkVmRegistry *
bk_vm_registry_new (BkCatalog *catalog, BkEventRing *events, BkLibvirt *libvirt)
{
  BkVmRegistry *registry = g_new0 (BkVmRegistry, 1);
  registry->catalog = catalog;
  registry->events = events;
  registry->libvirt = libvirt;
  registry->ending = g_cancellable_new ();
  registry->looks = g_atomic_rc_box_new0 (int);
  registry->vms = g_ptr_array_new_with_free_func (withdraw);
  return registry;
}

/* One that was cut off in the middle would leave a storage daemon behind. */
static void
end_looks (BkVmRegistry *registry)
{
  int64_t deadline = g_get_monotonic_time () + END_TIMEOUT_US;
  g_cancellable_cancel (registry->ending);
  while (g_atomic_int_get (registry->looks) > 0 && g_get_monotonic_time () < deadline) {
    g_main_context_iteration (NULL, FALSE);
    g_usleep (1000);
  }
}

void
bk_vm_registry_free (BkVmRegistry *registry)
{
  g_clear_handle_id (&registry->timer, g_source_remove);
  end_looks (registry);
  g_ptr_array_unref (registry->vms);
  g_object_unref (registry->ending);
  g_atomic_rc_box_release (registry->looks);
  g_free (registry->folder);
  g_free (registry);
}

static gboolean
look_at_all (gpointer user_data)
{
  BkVmRegistry *registry = user_data;
  for (unsigned i = 0; i < registry->vms->len; i++) {
    BkVm *vm = registry->vms->pdata[i];
    if (vm->link == BK_LINK_READY)
      look_by_itself (vm);
  }
  return G_SOURCE_CONTINUE;
}

void
bk_vm_registry_set_folder (BkVmRegistry *registry, const char *folder)
{
  g_free (registry->folder);
  registry->folder = g_strdup (folder);
  if (registry->timer == 0)
    registry->timer = g_timeout_add_seconds (LOOK_SECONDS, look_at_all, registry);
}

void
bk_vm_registry_set_notify (BkVmRegistry *registry, BkVmNotify notify, gpointer user_data)
{
  registry->notify = notify;
  registry->notify_data = user_data;
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp ((*(BkVm *const *)a)->kept->name, (*(BkVm *const *)b)->kept->name);
}

/* BkRecordDisks */
static void
keep_disks (json_object *recorded, gpointer user_data)
{
  BkVm *vm = user_data;
  g_autoptr (GError) error = NULL;
  if (vm->registry && !bk_catalog_record_disks (vm->registry->catalog, vm->kept->name, recorded, &error))
    g_warning ("VM '%s': its disks cannot be recorded: %s", vm->kept->name, error->message);
}

static BkBackend *
new_backend (BkVmRegistry *registry, BkVm *vm)
{
  if (vm->kept->libvirt)
    return bk_libvirt_backend_new (registry->libvirt, vm->kept->libvirt, vm->kept->uuid);
  BkBackend *backend = bk_qmp_backend_new (vm->kept->qmp);
  if (registry->folder == NULL)
    return backend;
  g_autofree char *folder = bk_export_folder_of_vm (registry->folder, vm->kept->name);
  g_autoptr (json_object) recorded = NULL;
  g_autoptr (GError) error = NULL;
  if (!bk_catalog_recorded_disks (registry->catalog, vm->kept->name, &recorded, &error))
    g_warning ("VM '%s': its recorded disks cannot be read: %s", vm->kept->name, error->message);
  return bk_offline_backend_new (backend, folder, recorded, keep_disks, vm);
}

static BkVm *
enroll (BkVmRegistry *registry, const BkVmInfo *kept)
{
  BkVm *vm = g_new0 (BkVm, 1);
  g_atomic_ref_count_init (&vm->refs);
  vm->home = g_thread_self ();
  vm->registry = registry;
  vm->kept = bk_struct_copy (&bk_vm_info_struct, kept);
  vm->looks = g_atomic_rc_box_acquire (registry->looks);
  vm->backend = new_backend (registry, vm);
  vm->link = bk_backend_link (vm->backend, NULL, NULL);
  g_ptr_array_add (registry->vms, vm);
  g_ptr_array_sort (registry->vms, compare_names);
  bk_backend_set_notify (vm->backend, on_backend_news, vm);
  bk_backend_connect (vm->backend);
  return vm;
}

gboolean
bk_vm_registry_load (BkVmRegistry *registry, GError **error)
{
  g_autoptr (GPtrArray) rows = bk_catalog_list_vms (registry->catalog, error);
  if (rows == NULL)
    return FALSE;
  for (unsigned i = 0; i < rows->len; i++)
    enroll (registry, rows->pdata[i]);
  return TRUE;
}

static BkVm *
find (BkVmRegistry *registry, const char *name)
{
  for (unsigned i = 0; i < registry->vms->len; i++) {
    BkVm *vm = registry->vms->pdata[i];
    if (strcmp (vm->kept->name, name) == 0)
      return vm;
  }
  return NULL;
}

static BkVm *
find_or_fail (BkVmRegistry *registry, const char *name, GError **error)
{
  BkVm *vm = find (registry, name);
  if (vm)
    return vm;
  g_autoptr (GString) known = g_string_new (NULL);
  for (unsigned i = 0; i < registry->vms->len; i++)
    g_string_append_printf (known, "%s%s", i ? ", " : "", bk_vm_name (registry->vms->pdata[i]));
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "no VM '%s'; there is %s", name, known->len ? known->str : "none yet");
  return NULL;
}

static gboolean
check_socket (const char *member, const char *path, GError **error)
{
  const char *text = NULL;
  if (!g_path_is_absolute (path))
    text = "must be an absolute path";
  else if (strlen (path) > PATH_LIMIT)
    text = "the path of a unix socket has 107 bytes at most";
  if (text)
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/%s: %s", member, text);
  return text == NULL;
}

static gboolean
check_classes (GHashTable *classes, GError **error)
{
  GHashTableIter iter;
  gpointer disk = NULL, name = NULL;
  if (classes == NULL)
    return TRUE;
  g_hash_table_iter_init (&iter, classes);
  while (g_hash_table_iter_next (&iter, &disk, &name))
    if (!bk_name_is_valid (name)) {
      g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/classes/%s: must be a word of letters, digits, '.', '_' and '-'",
                   (const char *)disk);
      return FALSE;
    }
  return TRUE;
}

static gboolean
check_uri (const char *member, const char *uri, GError **error)
{
  g_autoptr (GUri) parsed = g_uri_parse (uri, G_URI_FLAGS_NONE, NULL);
  if (parsed)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/%s: '%s' is no URI of libvirt; 'qemu:///system' is one", member, uri);
  return FALSE;
}

/* How the VM is reached: in one way. */
static gboolean
check_way (const BkVmInfo *vm, GError **error)
{
  const char *text = NULL;
  if (vm->qmp == NULL && vm->libvirt == NULL)
    text = "/qmp: is required, or libvirt";
  else if (vm->qmp && vm->libvirt)
    text = "/libvirt: goes without qmp: libvirt has the QMP socket";
  else if (vm->agent && vm->libvirt)
    text = "/agent: goes without libvirt, which has the agent's socket and is asked for it";
  else if (vm->domain && vm->libvirt == NULL)
    text = "/domain: goes with libvirt";
  if (text)
    g_set_error_literal (error, BK_ERROR, BK_ERROR_INVALID, text);
  return text == NULL && (vm->libvirt == NULL || check_uri ("libvirt", vm->libvirt, error));
}

static gboolean
check_fields (const BkVmInfo *vm, GError **error)
{
  if (!bk_name_is_valid (vm->name)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
                 "/name: must be 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit");
    return FALSE;
  }
  return check_way (vm, error) && (vm->qmp == NULL || check_socket ("qmp", vm->qmp, error)) && (vm->agent == NULL || check_socket ("agent", vm->agent, error)) &&
         check_classes (vm->classes, error);
}

/* A monitor serves one client: two VMs on one socket would keep each other out for ever. */
static bool
is_same_machine (const BkVmInfo *one, const BkVmInfo *other)
{
  if (one->libvirt)
    return g_strcmp0 (one->libvirt, other->libvirt) == 0 && g_strcmp0 (one->uuid, other->uuid) == 0;
  return g_strcmp0 (one->qmp, other->qmp) == 0;
}

static gboolean
check_unique (BkVmRegistry *registry, const BkVmInfo *vm, GError **error)
{
  for (unsigned i = 0; i < registry->vms->len; i++) {
    const BkVmInfo *other = ((BkVm *)registry->vms->pdata[i])->kept;
    bool same_name = strcmp (other->name, vm->name) == 0;
    if (!same_name && !is_same_machine (vm, other))
      continue;
    if (same_name)
      g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "there is a VM '%s' already", other->name);
    else
      g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "VM '%s' %s already", other->name, vm->libvirt ? "is that domain" : "uses that QMP socket");
    return FALSE;
  }
  return TRUE;
}

static gboolean
add (BkVmRegistry *registry, const BkVmInfo *kept, const char *run_state, GError **error)
{
  if (!check_unique (registry, kept, error) || !bk_catalog_add_vm (registry->catalog, kept, error))
    return FALSE;
  BkVm *vm = enroll (registry, kept);
  set_run_state (vm, run_state);
  publish (registry, vm, NULL);
  return TRUE;
}

/* --- domains --- */

/* What is asked of libvirt before there is a VM. */
typedef struct {
  BkVmRegistry *registry;
  BkLibvirtLink *link;
  BkVmInfo *vm; /* to be added, or NULL */
} Ask;

static void
ask_free (gpointer data)
{
  Ask *ask = data;
  bk_libvirt_link_unref (ask->link);
  bk_vm_info_free (ask->vm);
  g_free (ask);
}

static void
list_domains (GTask *task, gpointer source G_GNUC_UNUSED, gpointer data, GCancellable *cancellable)
{
  GError *error = NULL;
  GPtrArray *domains = bk_libvirt_list_domains (((Ask *)data)->link, cancellable, &error);
  if (domains)
    g_task_return_pointer (task, domains, (GDestroyNotify)g_ptr_array_unref);
  else
    g_task_return_error (task, error);
}

static void
ask_libvirt (BkVmRegistry *registry, GTask *task, const char *uri, const BkVmInfo *vm)
{
  Ask *ask = g_new0 (Ask, 1);
  ask->registry = registry;
  ask->link = bk_libvirt_get_link (registry->libvirt, uri);
  ask->vm = vm ? bk_struct_copy (&bk_vm_info_struct, vm) : NULL;
  g_task_set_task_data (task, ask, ask_free);
  g_task_run_in_thread (task, list_domains);
}

static const BkLibvirtDomain *
find_domain (GPtrArray *domains, const char *wanted, GError **error)
{
  g_autoptr (GString) names = g_string_new (NULL);
  for (unsigned i = 0; i < domains->len; i++) {
    const BkLibvirtDomain *domain = domains->pdata[i];
    if (strcmp (domain->name, wanted) == 0 || strcmp (domain->uuid, wanted) == 0)
      return domain;
    g_string_append_printf (names, "%s%s", names->len ? ", " : "", domain->name);
  }
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "libvirt has no domain '%s'; there is %s", wanted, names->len ? names->str : "none");
  return NULL;
}

static gboolean
add_qmp (BkVmRegistry *registry, const BkVmInfo *request, GError **error)
{
  g_autoptr (BkVmInfo) kept = bk_struct_copy (&bk_vm_info_struct, request);
  g_free (kept->qmp);
  kept->qmp = g_canonicalize_filename (request->qmp, NULL);
  kept->added_at = g_get_real_time ();
  return add (registry, kept, NULL, error);
}

void
bk_vm_registry_add_async (BkVmRegistry *registry, const BkVmInfo *request, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  GError *error = NULL;
  if (!check_fields (request, &error))
    g_task_return_error (task, error);
  else if (request->libvirt)
    ask_libvirt (registry, task, request->libvirt, request);
  else if (add_qmp (registry, request, &error))
    g_task_return_pointer (task, g_ptr_array_new (), (GDestroyNotify)g_ptr_array_unref);
  else
    g_task_return_error (task, error);
}

gboolean
bk_vm_registry_add_finish (BkVmRegistry *registry, GAsyncResult *result, GError **error)
{
  g_autoptr (GPtrArray) domains = g_task_propagate_pointer (G_TASK (result), error);
  const Ask *ask = g_task_get_task_data (G_TASK (result));
  if (domains == NULL || ask == NULL)
    return domains != NULL;
  const BkLibvirtDomain *domain = find_domain (domains, ask->vm->domain ? ask->vm->domain : ask->vm->name, error);
  if (domain == NULL)
    return FALSE;
  g_autoptr (BkVmInfo) kept = bk_struct_copy (&bk_vm_info_struct, ask->vm);
  g_free (kept->domain);
  kept->domain = g_strdup (domain->name);
  kept->uuid = g_strdup (domain->uuid);
  kept->added_at = g_get_real_time ();
  return add (registry, kept, domain->state, error);
}

void
bk_vm_registry_discover_async (BkVmRegistry *registry, const char *uri, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  GError *error = NULL;
  if (check_uri ("libvirt", uri, &error))
    ask_libvirt (registry, task, uri, NULL);
  else
    g_task_return_error (task, error);
}

BkLibvirtLink *
bk_vm_registry_get_link (BkVmRegistry *registry, const char *uri, GError **error)
{
  return check_uri ("libvirt", uri, error) ? bk_libvirt_get_link (registry->libvirt, uri) : NULL;
}

static const char *
vm_of_domain (BkVmRegistry *registry, const char *uri, const char *uuid)
{
  for (unsigned i = 0; i < registry->vms->len; i++) {
    const BkVmInfo *vm = ((BkVm *)registry->vms->pdata[i])->kept;
    if (g_strcmp0 (vm->libvirt, uri) == 0 && g_strcmp0 (vm->uuid, uuid) == 0)
      return vm->name;
  }
  return NULL;
}

GPtrArray *
bk_vm_registry_discover_finish (BkVmRegistry *registry, GAsyncResult *result, GError **error)
{
  g_autoptr (GPtrArray) domains = g_task_propagate_pointer (G_TASK (result), error);
  const Ask *ask = g_task_get_task_data (G_TASK (result));
  if (domains == NULL)
    return NULL;
  GPtrArray *infos = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_domain_info_free);
  for (unsigned i = 0; i < domains->len; i++) {
    const BkLibvirtDomain *domain = domains->pdata[i];
    BkDomainInfo *info = g_new0 (BkDomainInfo, 1);
    info->name = g_strdup (domain->name);
    info->uuid = g_strdup (domain->uuid);
    info->state = g_strdup (domain->state);
    info->persistent = domain->persistent;
    info->vm = g_strdup (vm_of_domain (registry, bk_libvirt_link_uri (ask->link), domain->uuid));
    g_ptr_array_add (infos, info);
  }
  return infos;
}

gboolean
bk_vm_registry_remove (BkVmRegistry *registry, const char *name, GError **error)
{
  BkVm *vm = find_or_fail (registry, name, error);
  if (vm == NULL || !bk_catalog_remove_vm (registry->catalog, name, error))
    return FALSE;
  publish (registry, vm, "removed");
  g_ptr_array_remove (registry->vms, vm);
  return TRUE;
}

BkVm *
bk_vm_registry_get (BkVmRegistry *registry, const char *name, GError **error)
{
  BkVm *vm = find_or_fail (registry, name, error);
  return vm ? bk_vm_ref (vm) : NULL;
}

GPtrArray *
bk_vm_registry_list (BkVmRegistry *registry)
{
  GPtrArray *infos = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_vm_info_free);
  for (unsigned i = 0; i < registry->vms->len; i++)
    g_ptr_array_add (infos, vm_info (registry->vms->pdata[i]));
  return infos;
}

BkVmInfo *
bk_vm_registry_info (BkVmRegistry *registry, const char *name, GError **error)
{
  BkVm *vm = find_or_fail (registry, name, error);
  return vm ? vm_info (vm) : NULL;
}

/* --- show --- */

void
bk_vm_registry_show_async (BkVmRegistry *registry, const char *name, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, registry->ending, callback, user_data);
  GError *error = NULL;
  BkVm *vm = bk_vm_registry_get (registry, name, &error);
  if (vm == NULL) {
    g_task_return_error (task, error);
    return;
  }
  bk_vm_recall (vm);
  g_task_set_task_data (task, vm, (GDestroyNotify)bk_vm_unref);
  begin_look (vm, task);
}

/* Users may have named it by an alias. */
static const char *
class_of (const BkVmInfo *vm, const BkDisk *disk)
{
  const char *name = vm->classes ? g_hash_table_lookup (vm->classes, disk->name) : NULL;
  for (size_t i = 0; name == NULL && vm->classes && disk->aliases && disk->aliases[i]; i++)
    name = g_hash_table_lookup (vm->classes, disk->aliases[i]);
  return name;
}

const char *
bk_vm_class_of (BkVm *vm, const BkDisk *disk)
{
  return class_of (vm->kept, disk);
}

static const char *
why_not_selected (const BkDisk *disk)
{
  if (disk->empty)
    return "no medium";
  if (disk->removable)
    return "removable";
  return disk->read_only ? "read-only" : "not a disk to back up";
}

/* Bitmaps in memory do, as long as they last. */
static char *
why_not_incremental (const BkDisk *disk)
{
  if (disk->no_access)
    return g_strdup (disk->no_access);
  return disk->why_not ? g_strconcat (disk->why_not, "; increments are possible until the VM stops", NULL) : NULL;
}

static BkDiskInfo *
disk_info (const BkVmInfo *vm, const BkDisk *disk)
{
  BkDiskInfo *info = g_new0 (BkDiskInfo, 1);
  info->name = g_strdup (disk->name);
  info->aliases = g_strdupv (disk->aliases);
  info->qdev = g_strdup (disk->qdev);
  info->node = g_strdup (disk->node);
  info->format = g_strdup (disk->format);
  info->file = g_strdup (disk->file);
  info->size = disk->size;
  info->class_name = g_strdup (class_of (vm, disk));
  info->selected = bk_disk_is_default (disk);
  info->incremental = disk->can_persist;
  info->reason = info->selected ? why_not_incremental (disk) : g_strdup (why_not_selected (disk));
  info->iothread = g_strdup (disk->iothread);
  return info;
}

static void
add_disks (BkVmInfo *vm, GPtrArray *disks)
{
  vm->disks = g_ptr_array_new ();
  for (unsigned i = 0; i < disks->len; i++)
    g_ptr_array_add (vm->disks, disk_info (vm, disks->pdata[i]));
}

/* The link may still look well when the VM stopped answering: the inspection knows better. */
static void
set_unreachable (BkVmInfo *info, BkLink link, const GError *error)
{
  if (link == BK_LINK_READY) {
    g_free (info->state);
    info->state = g_strdup ("unreachable");
  }
  g_free (info->reason);
  info->reason = g_strdup (error->message);
}

/* Only its name is new: it is told by its UUID. */
static void
note_domain (BkVm *vm, const char *domain)
{
  g_autoptr (GError) error = NULL;
  if (vm->registry == NULL || g_strcmp0 (vm->kept->domain, domain) == 0)
    return;
  g_free (vm->kept->domain);
  vm->kept->domain = g_strdup (domain);
  if (!bk_catalog_rename_domain (vm->registry->catalog, vm->kept->name, domain, &error))
    g_warning ("VM '%s': %s", vm->kept->name, error->message);
}

BkVmInfo *
bk_vm_registry_show_finish (BkVmRegistry *registry G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  g_autoptr (GError) local = NULL;
  BkVm *vm = g_task_get_task_data (G_TASK (result));
  g_autoptr (BkVmState) state = g_task_propagate_pointer (G_TASK (result), &local);
  if (vm == NULL) {
    g_propagate_error (error, g_steal_pointer (&local));
    return NULL;
  }
  if (state && vm->registry)
    note_state (vm, state);
  if (state && state->domain)
    note_domain (vm, state->domain);
  BkVmInfo *info = vm_info (vm);
  if (state == NULL) {
    set_unreachable (info, bk_backend_link (vm->backend, NULL, NULL), local);
    return info;
  }
  if (state->offline)
    info->recorded_at = state->recorded_at;
  add_disks (info, state->disks);
  return info;
}
