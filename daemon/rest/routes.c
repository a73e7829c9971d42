/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "routes.h"

#include "handlers.h"

#include <string.h>

static const char *const job_query[] = { "vm", "state", "kind", "limit", "cursor", NULL };
static const char *const backup_query[] = { "vm", "deleted", "limit", "cursor", NULL };
static const char *const checkpoint_query[] = { "vm", NULL };
static const char *const domain_query[] = { "libvirt", NULL };
static const char *const doctor_query[] = { "vm", NULL };
static const char *const event_query[] = { "after", "job", "vm", NULL };

static const BkRoute table[] = {
  { "GET", "/v1/vms", bk_vms_list, NULL, false },
  { "POST", "/v1/vms", bk_vms_add, NULL, true },
  { "GET", "/v1/domains", bk_domains_list, domain_query, false },
  { "GET", "/v1/doctor", bk_doctor_show, doctor_query, false },
  { "GET", "/v1/vms/{name}", bk_vm_show, NULL, false },
  { "DELETE", "/v1/vms/{name}", bk_vm_remove, NULL, false },
  { "GET", "/v1/jobs", bk_jobs_list, job_query, false },
  { "POST", "/v1/jobs", bk_jobs_submit, NULL, true },
  { "GET", "/v1/jobs/{id}", bk_job_show, NULL, false },
  { "POST", "/v1/jobs/{id}/cancel", bk_job_cancel, NULL, false },
  { "POST", "/v1/jobs/{id}/pause", bk_job_pause, NULL, false },
  { "POST", "/v1/jobs/{id}/resume", bk_job_resume, NULL, false },
  { "PUT", "/v1/jobs/{id}/speed", bk_job_speed, NULL, true },
  { "POST", "/v1/jobs/{id}/speed", bk_job_speed, NULL, true },
  { "GET", "/v1/backups", bk_backups_list, backup_query, false },
  { "GET", "/v1/backups/{id}", bk_backup_show, NULL, false },
  { "DELETE", "/v1/backups/{id}", bk_backup_delete, NULL, false },
  { "POST", "/v1/backups/{id}/pin", bk_backup_pin, NULL, false },
  { "POST", "/v1/backups/{id}/unpin", bk_backup_unpin, NULL, false },
  { "POST", "/v1/backups/{id}/undelete", bk_backup_undelete, NULL, false },
  { "GET", "/v1/repositories", bk_repositories_list, NULL, false },
  { "POST", "/v1/repositories", bk_repositories_add, NULL, true },
  { "GET", "/v1/repositories/{name}", bk_repository_show, NULL, false },
  { "DELETE", "/v1/repositories/{name}", bk_repository_remove, NULL, false },
  { "GET", "/v1/checkpoints", bk_checkpoints_list, checkpoint_query, false },
  { "POST", "/v1/checkpoints", bk_checkpoints_create, NULL, true },
  { "DELETE", "/v1/checkpoints/{id}", bk_checkpoint_delete, NULL, false },
  { "GET", "/v1/exports", bk_exports_list, NULL, false },
  { "POST", "/v1/exports", bk_exports_begin, NULL, true },
  { "GET", "/v1/exports/{id}", bk_export_show, NULL, false },
  { "POST", "/v1/exports/{id}/end", bk_export_end, NULL, true },
  { "GET", "/v1/serves", bk_serves_list, NULL, false },
  { "POST", "/v1/serves", bk_serves_start, NULL, true },
  { "GET", "/v1/serves/{id}", bk_serve_show, NULL, false },
  { "DELETE", "/v1/serves/{id}", bk_serve_stop, NULL, false },
  { "GET", "/v1/events", bk_events_stream, event_query, false },
  { "GET", "/v1/openapi.json", bk_openapi_show, NULL, false },
  { "GET", "/v1/health", bk_health_show, NULL, false },
};

static bool
is_word (const char *segment)
{
  return segment[0] == '{';
}

/* NULL for what is no text, or has a NUL in it. */
static char *
decode (const char *segment)
{
  g_autofree char *plain = g_uri_unescape_string (segment, NULL);
  return plain && g_utf8_validate (plain, -1, NULL) ? g_steal_pointer (&plain) : NULL;
}

/* Compares segment by segment, before decoding, so that an escaped slash is part of a word. */
static GPtrArray *
match (const char *template, const char *path)
{
  g_auto (GStrv) wanted = g_strsplit (template, "/", -1);
  g_auto (GStrv) given = g_strsplit (path, "/", -1);
  g_autoptr (GPtrArray) words = g_ptr_array_new_with_free_func (g_free);
  if (g_strv_length (wanted) != g_strv_length (given))
    return NULL;
  for (size_t i = 0; wanted[i]; i++) {
    g_autofree char *plain = decode (given[i]);
    if (plain == NULL || (is_word (wanted[i]) ? plain[0] == '\0' : strcmp (wanted[i], plain) != 0))
      return NULL;
    if (is_word (wanted[i]))
      g_ptr_array_add (words, g_steal_pointer (&plain));
  }
  return g_steal_pointer (&words);
}

static void
add_method (GString *allow, const char *method)
{
  g_string_append_printf (allow, "%s%s", allow->len ? ", " : "", method);
  if (strcmp (method, "GET") == 0)
    g_string_append (allow, ", HEAD");
}

const BkRoute *
bk_routes_find (const char *method, const char *path, GPtrArray **words, char **allow)
{
  g_autoptr (GString) methods = g_string_new (NULL);
  const char *served = strcmp (method, "HEAD") == 0 ? "GET" : method;
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++) {
    g_autoptr (GPtrArray) found = match (table[i].path, path);
    if (found == NULL)
      continue;
    if (strcmp (table[i].method, served) == 0) {
      *words = g_steal_pointer (&found);
      return &table[i];
    }
    add_method (methods, table[i].method);
  }
  *allow = methods->len ? g_strdup (methods->str) : NULL;
  return NULL;
}

GStrv
bk_routes_list (void)
{
  GPtrArray *lines = g_ptr_array_new ();
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++)
    g_ptr_array_add (lines, g_strdup_printf ("%s %s", table[i].method, table[i].path));
  g_ptr_array_add (lines, NULL);
  return (GStrv)g_ptr_array_free (lines, FALSE);
}
