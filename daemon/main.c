/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "doctor.h"
#include "fsio.h"
#include "log.h"
#include "options.h"
#include "serve-registry.h"
#include "server.h"
#include "service-notify.h"

#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define EVENTS_KEPT 4096

static gboolean
on_end_signal (gpointer user_data)
{
  g_main_loop_quit (user_data);
  return G_SOURCE_CONTINUE;
}

static void
end_on (int signal_number, GMainLoop *loop)
{
  g_unix_signal_add_full (G_PRIORITY_DEFAULT, signal_number, on_end_signal, g_main_loop_ref (loop),
                          (GDestroyNotify)g_main_loop_unref);
}

/* Until we are told to end. The signals stay caught: told twice, we still end in order rather than half-way. */
static void
serve (void)
{
  g_autoptr (GMainLoop) loop = g_main_loop_new (NULL, FALSE);
  end_on (SIGTERM, loop);
  end_on (SIGINT, loop);
  bk_service_notify ("READY=1");
  g_main_loop_run (loop);
  bk_service_notify ("STOPPING=1");
  g_message ("ending; running jobs are left as they are in QEMU");
}

static gboolean
listen_all (BkServer *server, GStrv addresses, GError **error)
{
  for (size_t i = 0; addresses[i]; i++)
    if (!bk_server_listen (server, addresses[i], error))
      return FALSE;
  return TRUE;
}

/* The whole daemon: each object is given what it works with, and goes in the reverse order by itself. */
static gboolean
run (const BkOptions *options, GError **error)
{
  if (!bk_fsio_make_folder (options->state_dir, error))
    return FALSE;
  g_autoptr (BkCatalog) catalog = bk_catalog_open (options->state_dir, error);
  if (catalog == NULL)
    return FALSE;
  g_autoptr (BkEventRing) events = bk_event_ring_new (EVENTS_KEPT);
  g_autoptr (BkRepositoryRegistry) repositories = bk_repository_registry_new (catalog);
  g_autoptr (BkLibvirt) libvirt = bk_libvirt_new ();
  g_autoptr (BkVmRegistry) vms = bk_vm_registry_new (catalog, events, libvirt);
  bk_vm_registry_set_folder (vms, options->export_dir);
  const BkQueueOptions queue_options = {
    .max_running = options->max_running,
    .scratch = options->scratch_dir,
    .scratch_reserve = options->scratch_reserve,
    .exports = options->export_dir,
    .trash_seconds = options->trash_seconds,
    .freeze_seconds = options->freeze_seconds,
    .hooks_dir = options->hooks_dir,
    .hook_seconds = options->hook_seconds,
  };
  g_autoptr (BkQueue) queue = bk_queue_new (catalog, vms, repositories, events, &queue_options);
  if (!bk_repository_registry_load (repositories, options->state_dir, error) || !bk_vm_registry_load (vms, error) ||
      !bk_queue_recover (queue, error))
    return FALSE;
  g_autofree char *sockets = g_build_filename (options->state_dir, "serve", NULL);
  g_autoptr (BkServeRegistry) serves = bk_serve_registry_new (catalog, repositories, queue, events, sockets);
  const BkDoctorFolders folders = { .state = options->state_dir, .scratch = options->scratch_dir, .scratch_reserve = options->scratch_reserve };
  g_autoptr (BkDoctor) doctor = bk_doctor_new (catalog, vms, repositories, queue, &folders);
  g_autoptr (BkServer) server = bk_server_new (queue, vms, repositories, serves, events, doctor);
  if (!listen_all (server, options->listen, error))
    return FALSE;
  serve ();
  return TRUE;
}

static int
fail (const GError *error)
{
  g_critical ("%s", error->message);
  return bk_error_entry_of (error)->exit_status;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  umask (077);
  signal (SIGPIPE, SIG_IGN);
  g_set_prgname ("backupd");
  bk_log_init ();
  g_autoptr (BkOptions) options = bk_options_new (argc, argv, &error);
  if (options == NULL)
    return fail (error);
  if (options->version) {
    puts ("backupd " BK_VERSION);
    return EXIT_SUCCESS;
  }
  bk_log_set_verbose (options->verbose);
  return run (options, &error) ? EXIT_SUCCESS : fail (error);
}
