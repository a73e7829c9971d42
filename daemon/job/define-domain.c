/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "define-domain.h"

#include "fsio.h"
#include "libvirt-backend.h"
#include "libvirt-calls.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

static char *
read_definition (const BkDefineDomain *define, GError **error)
{
  size_t length = 0;
  g_autoptr (GError) failure = NULL;
  char *text = bk_store_read_part (define->store, define->vm, define->backup, BK_LIBVIRT_DEFINITION, &length, &failure);
  if (text)
    return text;
  if (g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND))
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "backup '%s' has no definition of a domain: its VM was none of libvirt; restore it without --define", define->backup);
  else
    g_propagate_error (error, g_steal_pointer (&failure));
  return NULL;
}

gboolean
bk_define_domain_check (const BkDefineDomain *define, GError **error)
{
  g_autofree char *text = read_definition (define, error);
  g_autoptr (GPtrArray) domains = text ? bk_libvirt_list_domains (define->link, NULL, error) : NULL;
  for (unsigned i = 0; domains && i < domains->len; i++) {
    const BkLibvirtDomain *domain = domains->pdata[i];
    if (strcmp (domain->name, define->request->define) != 0)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "libvirt has a domain '%s' already; choose another name, or undefine it first", domain->name);
    return FALSE;
  }
  return domains != NULL;
}

/* QEMU opens its files by their paths, mostly as a user of its own; libvirt gives it the files, not the folder. */
gboolean
bk_define_domain_make_folder (const BkDefineDomain *define, GError **error)
{
  const char *folder = define->request->output;
  if (g_file_test (folder, G_FILE_TEST_IS_DIR))
    return TRUE;
  if (!bk_fsio_make_folder (folder, error))
    return FALSE;
  return g_chmod (folder, 0711) == 0 || bk_error_set_errno (error, errno, "cannot let QEMU enter '%s'", folder);
}

/* NULL when the backup has no such part. (transfer full) */
static gboolean
restore_part (const BkDefineDomain *define, const char *part, char **path, GError **error)
{
  size_t length = 0;
  g_autoptr (GError) failure = NULL;
  g_autofree char *content = bk_store_read_part (define->store, define->vm, define->backup, part, &length, &failure);
  *path = NULL;
  if (g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND))
    return TRUE;
  if (failure) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  g_autofree char *component = bk_path_component_escape (define->request->define);
  *path = g_strdup_printf ("%s/%s.%s", define->request->output, component, part);
  return bk_fsio_write_file (*path, content, length, error);
}

gboolean
bk_define_domain (const BkDefineDomain *define, GHashTable *outputs, GError **error)
{
  g_autofree char *nvram = NULL, *tpm = NULL, *uuid = NULL;
  g_autofree char *text = read_definition (define, error);
  if (text == NULL || !restore_part (define, BK_LIBVIRT_NVRAM, &nvram, error) || !restore_part (define, BK_LIBVIRT_TPM, &tpm, error))
    return FALSE;
  const BkLibvirtRedefinition how = { define->request->define, define->request->keep_identity, outputs, define->format, nvram };
  g_autofree char *xml = bk_libvirt_xml_redefine (text, &how, error);
  if (xml)
    uuid = bk_libvirt_define (define->link, define->request->define, xml, error);
  if (uuid == NULL)
    g_prefix_error (error, "the disks are in '%s', but there is no domain of them: ", define->request->output);
  return uuid != NULL;
}
