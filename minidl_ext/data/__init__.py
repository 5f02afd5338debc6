"""Pictures as bytes or floats: conversion, crops, warps, scaling."""
