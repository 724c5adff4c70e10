"""Typed custom resources and Secrets; the CustomResourceDefinitions are generated from these. Pure."""
