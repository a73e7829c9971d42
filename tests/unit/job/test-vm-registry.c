/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake-backend.h"
#include "suite.h"
#include "vm-registry.h"

typedef struct {
  BkCatalog *catalog;
  BkEventRing *events;
  BkVmRegistry *vms;
  unsigned notified;
  char *event; /* last one heard of */
  BkVmInfo *shown;
  GError *error;
  bool done;
} Bench;

static void
on_notify (BkVm *vm, BkLink link G_GNUC_UNUSED, const char *event, gpointer user_data)
{
  Bench *bench = user_data;
  ck_assert_str_eq (bk_vm_name (vm), "web01");
  bench->notified++;
  g_free (bench->event);
  bench->event = g_strdup (event);
}

static Bench *
bench_new (const char *folder)
{
  g_autoptr (GError) error = NULL;
  Bench *bench = g_new0 (Bench, 1);
  bench->catalog = bk_catalog_open (folder, &error);
  bk_assert_no_error (error);
  bench->events = bk_event_ring_new (100);
  bench->vms = bk_vm_registry_new (bench->catalog, bench->events, NULL);
  bk_vm_registry_set_notify (bench->vms, on_notify, bench);
  ck_assert (bk_vm_registry_load (bench->vms, &error));
  return bench;
}

static void
bench_free (Bench *bench)
{
  bk_vm_registry_free (bench->vms);
  bk_event_ring_free (bench->events);
  bk_catalog_close (bench->catalog);
  g_clear_pointer (&bench->shown, bk_vm_info_free);
  g_clear_error (&bench->error);
  g_free (bench->event);
  g_free (bench);
}

static void
on_added (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  Bench *bench = user_data;
  ck_assert (bk_vm_registry_add_finish (bench->vms, result, &bench->error));
  bench->done = true;
}

static void
add_web01 (Bench *bench)
{
  g_autoptr (BkVmInfo) vm = g_new0 (BkVmInfo, 1);
  vm->name = g_strdup ("web01");
  vm->qmp = g_strdup ("/run/web01.qmp");
  vm->classes = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_hash_table_insert (vm->classes, g_strdup ("drive-b"), g_strdup ("database"));
  bk_vm_registry_add_async (bench->vms, vm, on_added, bench);
  while (!bench->done)
    g_main_context_iteration (NULL, TRUE);
  bench->done = false;
}

static Bench *
bench_with_vm (void)
{
  g_autofree char *folder = bk_suite_folder ();
  Bench *bench = bench_new (folder);
  add_web01 (bench);
  return bench;
}

static void
assert_state (Bench *bench, const char *state, const char *reason)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkVmInfo) info = bk_vm_registry_info (bench->vms, "web01", &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (info->state, state);
  ck_assert_pstr_eq (info->reason, reason);
}

/* "STATE" of the body of the newest event, which must be one of a VM. */
static void
assert_published (Bench *bench, const char *state)
{
  const BkEvent *event = bk_event_ring_next (bench->events, bk_event_ring_last (bench->events) - 1, NULL);
  json_object *member = NULL;
  ck_assert_str_eq (event->type, "vm");
  ck_assert_str_eq (event->vm, "web01");
  ck_assert (json_object_object_get_ex (event->body, "state", &member));
  ck_assert_str_eq (json_object_get_string (member), state);
}

START_TEST (state_is_that_of_the_link)
{
  Bench *bench = bench_with_vm ();
  BkBackend *backend = bk_fake_backend_last ();
  assert_published (bench, "connecting");
  assert_state (bench, "connecting", NULL);
  bk_fake_backend_set_link (backend, BK_LINK_BUSY, "another program holds the monitor", NULL);
  assert_state (bench, "busy", "another program holds the monitor");
  bk_fake_backend_set_link (backend, BK_LINK_DOWN, "no such socket", NULL);
  assert_state (bench, "unreachable", "no such socket");
  assert_published (bench, "unreachable");
  bk_fake_backend_set_link (backend, BK_LINK_READY, "", NULL);
  assert_state (bench, "connected", NULL);
  ck_assert_uint_eq (bench->notified, 3);
  bench_free (bench);
}
END_TEST

START_TEST (run_state_follows_events)
{
  Bench *bench = bench_with_vm ();
  BkBackend *backend = bk_fake_backend_last ();
  bk_fake_backend_set_link (backend, BK_LINK_READY, "", NULL);
  bk_fake_backend_set_link (backend, BK_LINK_READY, "", "STOP");
  assert_state (bench, "paused", NULL);
  assert_published (bench, "paused");
  bk_fake_backend_set_link (backend, BK_LINK_READY, "", "RESUME");
  assert_state (bench, "running", NULL);
  uint64_t last = bk_event_ring_last (bench->events);
  bk_fake_backend_set_link (backend, BK_LINK_READY, "", "JOB_STATUS_CHANGE");
  bk_fake_backend_set_link (backend, BK_LINK_READY, "", "RESUME");
  ck_assert_msg (bk_event_ring_last (bench->events) == last, "what changes nothing is not published");
  ck_assert_str_eq (bench->event, "RESUME");
  ck_assert_uint_eq (bench->notified, 5);
  bk_fake_backend_set_link (backend, BK_LINK_DOWN, "it ended", NULL);
  bk_fake_backend_set_link (backend, BK_LINK_READY, "", NULL);
  assert_state (bench, "connected", NULL);
  bench_free (bench);
}
END_TEST

static BkDisk *
disk_new (const char *name, const char *alias, bool read_only)
{
  BkDisk *disk = g_new0 (BkDisk, 1);
  disk->name = g_strdup (name);
  disk->qdev = g_strdup (name);
  disk->aliases = g_new0 (char *, 2);
  disk->aliases[0] = g_strdup (alias);
  disk->format = g_strdup ("qcow2");
  disk->size = 1024;
  disk->read_only = read_only;
  disk->can_persist = !read_only;
  disk->bitmaps = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_bitmap_free);
  return disk;
}

static BkVmState *
state_new (void)
{
  BkVmState *state = g_new0 (BkVmState, 1);
  state->status = g_strdup ("running");
  state->version = g_strdup ("7.2.0");
  state->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_disk_free);
  g_ptr_array_add (state->disks, disk_new ("vda", "drive-a", false));
  g_ptr_array_add (state->disks, disk_new ("vdb", "drive-b", false));
  g_ptr_array_add (state->disks, disk_new ("cd", "drive-c", true));
  BkDisk *raw = state->disks->pdata[0];
  raw->can_persist = false;
  raw->why_not = g_strdup ("raw images keep no bitmaps");
  return state;
}

static void
on_shown (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  Bench *bench = user_data;
  bench->shown = bk_vm_registry_show_finish (bench->vms, result, &bench->error);
  bench->done = true;
}

static void
show (Bench *bench, const char *name)
{
  bk_vm_registry_show_async (bench->vms, name, on_shown, bench);
  while (!bench->done)
    g_main_context_iteration (NULL, TRUE);
}

START_TEST (shows_disks)
{
  Bench *bench = bench_with_vm ();
  bk_fake_backend_set_link (bk_fake_backend_last (), BK_LINK_READY, "", NULL);
  bk_fake_backend_set_state (bk_fake_backend_last (), state_new (), 0);
  show (bench, "web01");
  bk_assert_no_error (bench->error);
  ck_assert_str_eq (bench->shown->state, "running");
  ck_assert_uint_eq (bench->shown->disks->len, 3);
  const BkDiskInfo *vda = bench->shown->disks->pdata[0];
  const BkDiskInfo *vdb = bench->shown->disks->pdata[1];
  const BkDiskInfo *cd = bench->shown->disks->pdata[2];
  ck_assert (vda->selected && !vda->incremental);
  ck_assert_str_eq (vda->reason, "raw images keep no bitmaps; increments are possible until the VM stops");
  ck_assert_ptr_null (vda->class_name);
  ck_assert (vdb->selected && vdb->incremental);
  ck_assert_ptr_null (vdb->reason);
  ck_assert_msg (g_strcmp0 (vdb->class_name, "database") == 0, "a class may be given by any name of the disk");
  ck_assert (!cd->selected);
  ck_assert_str_eq (cd->reason, "read-only");
  assert_state (bench, "running", NULL);
  bench_free (bench);
}
END_TEST

/* Without anybody asking, so that they are known when it is gone. */
START_TEST (records_disks_when_it_connects)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) recorded = NULL;
  g_autofree char *folder = bk_suite_folder ();
  Bench *bench = bench_new (folder);
  bk_vm_registry_set_folder (bench->vms, folder);
  add_web01 (bench);
  bk_fake_backend_set_state (bk_fake_backend_last (), state_new (), 0);
  bk_fake_backend_set_link (bk_fake_backend_last (), BK_LINK_READY, "", NULL);
  for (unsigned i = 0; i < 500 && recorded == NULL; i++) {
    while (g_main_context_iteration (NULL, FALSE))
      ;
    ck_assert (bk_catalog_recorded_disks (bench->catalog, "web01", &recorded, &error));
    g_usleep (10000);
  }
  ck_assert_ptr_nonnull (recorded);
  ck_assert_ptr_nonnull (strstr (json_object_to_json_string (recorded), "\"vda\""));
  bench_free (bench);
}
END_TEST

START_TEST (shows_why_it_cannot_ask)
{
  Bench *bench = bench_with_vm ();
  bk_fake_backend_set_link (bk_fake_backend_last (), BK_LINK_READY, "", NULL);
  show (bench, "web01");
  bk_assert_no_error (bench->error);
  ck_assert_str_eq (bench->shown->state, "unreachable");
  ck_assert_str_eq (bench->shown->reason, "nobody answers");
  ck_assert_ptr_null (bench->shown->disks);
  bench_free (bench);
}
END_TEST

START_TEST (shows_no_stranger)
{
  Bench *bench = bench_with_vm ();
  show (bench, "web02");
  ck_assert_ptr_null (bench->shown);
  ck_assert_str_eq (bench->error->message, "no VM 'web02'; there is web01");
  bk_assert_error (bench->error, BK_ERROR_NOT_FOUND);
  bench_free (bench);
}
END_TEST

START_TEST (removed_while_it_is_asked)
{
  Bench *bench = bench_with_vm ();
  g_autoptr (GError) error = NULL;
  bk_fake_backend_set_state (bk_fake_backend_last (), state_new (), 200);
  bk_vm_registry_show_async (bench->vms, "web01", on_shown, bench);
  ck_assert (bk_vm_registry_remove (bench->vms, "web01", &error));
  bk_assert_no_error (error);
  assert_published (bench, "removed");
  ck_assert_msg (bk_fake_backend_count () == 1, "the worker still uses it");
  while (!bench->done || bk_fake_backend_count () > 0)
    g_main_context_iteration (NULL, TRUE);
  bk_assert_no_error (bench->error);
  ck_assert_str_eq (bench->shown->name, "web01");
  bench_free (bench);
}
END_TEST

START_TEST (held_by_a_job_after_removal)
{
  Bench *bench = bench_with_vm ();
  g_autoptr (GError) error = NULL;
  BkVm *vm = bk_vm_registry_get (bench->vms, "web01", &error);
  ck_assert (bk_vm_registry_remove (bench->vms, "web01", &error));
  bk_assert_no_error (error);
  ck_assert_str_eq (bk_vm_name (vm), "web01");
  bk_fake_backend_set_link (bk_vm_backend (vm), BK_LINK_READY, "", NULL);
  ck_assert_msg (bench->notified == 0, "one that is gone is not spoken of");
  ck_assert_ptr_null (bk_vm_registry_get (bench->vms, "web01", &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  bk_vm_unref (vm);
  ck_assert_uint_eq (bk_fake_backend_count (), 0);
  bench_free (bench);
}
END_TEST

START_TEST (is_there_after_a_restart)
{
  g_autofree char *folder = bk_suite_folder ();
  Bench *bench = bench_new (folder);
  add_web01 (bench);
  bench_free (bench);
  ck_assert_uint_eq (bk_fake_backend_count (), 0);
  bench = bench_new (folder);
  g_autoptr (GPtrArray) list = bk_vm_registry_list (bench->vms);
  ck_assert_uint_eq (list->len, 1);
  ck_assert_str_eq (((BkVmInfo *)list->pdata[0])->qmp, "/run/web01.qmp");
  ck_assert_int_gt (((BkVmInfo *)list->pdata[0])->added_at, 0);
  bench_free (bench);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { state_is_that_of_the_link, run_state_follows_events,    shows_disks, records_disks_when_it_connects,
                                 shows_why_it_cannot_ask,   shows_no_stranger,           removed_while_it_is_asked,
                                 held_by_a_job_after_removal, is_there_after_a_restart, NULL };
  return bk_suite_run ("vm-registry", tests);
}
